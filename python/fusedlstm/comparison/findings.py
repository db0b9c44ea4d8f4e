"""`Finding`: one thing in which two sets disagree."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

# From the worst: the sets do not fit together or one knows the other; they differ; worth knowing.
SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One thing in which the test set differs from the training set.

    Attributes
    ----------
    kind : str
        Such as ``"shape"``, ``"scale"`` or ``"leakage"``.
    severity : {"error", "warning", "note"}
        Whether the sets do not fit together or one knows the other, differ, or this is only worth knowing.
    text : str
        A sentence.
    field : str or None
        The array: ``"x"``, ``"x['words']"``, ``"y"``, ``"time"``; None for what is about all of them.
    feature : str or None
        Which of its features, or which id or class.
    step : int or None
        The time step, counted from 0, where the difference is largest.
    statistic : float or None
        What was measured: a distance of distributions in [0, 1], a share, a factor, an AUC.
    p_value : float or None
        Chance of a statistic at least as large if the sets were drawn alike; None for facts.
    p_adjusted : float or None
        The same for all tests of the comparison together, to be compared with its ``alpha``.
    """

    kind: str
    severity: str
    text: str
    field: str | None = None
    feature: str | None = None
    step: int | None = None
    statistic: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes by name, as JSON takes them."""
        return asdict(self)


def share_text(part: int, whole: int) -> str:
    """Return a count with its share: ``12 of 500 (2.4 %)``."""
    return f"{part:,} of {whole:,} ({number_text(100 * part / whole)} %)"


def number_text(value: float) -> str:
    """Return a number with three digits, without an exponent where a reader does not need one."""
    if value != 0 and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.3g}"
    return f"{float(f'{value:.3g}'):,.10g}"
