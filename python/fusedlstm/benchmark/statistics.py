"""Medians and spreads."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


class Spread(NamedTuple):
    """Median, 10th and 90th percentile of a number of samples."""

    median: float
    p10: float
    p90: float
    samples: int


def spread(values: Sequence[float]) -> Spread:
    """Summarise samples.

    Raises
    ------
    ValueError
        If there are none.
    """
    if not values:
        raise ValueError("values: expected at least one sample, got none")
    low, middle, high = (float(value) for value in np.quantile(values, (0.1, 0.5, 0.9)))
    return Spread(middle, low, high, len(values))
