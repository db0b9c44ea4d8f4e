"""Arrays that are measured in other units than others, as 0..255 against 0..1."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fusedlstm.base import devices

if TYPE_CHECKING:
    import numpy.typing as npt

# Numbers of a sample, and how many of them have to be neither zero, infinite nor NaN.
_SAMPLE, _FEWEST = 65_536, 32
# A factor from which on units differ; the smaller one where integers meet other numbers.
_LIMIT, _MIXED_LIMIT = 50.0, 8.0


class ScaleWarning(UserWarning):
    """The validation data of `fit` are measured in other units than the training data."""


class ScaleDifference(NamedTuple):
    """What two arrays' typical magnitudes are: the medians of those that are not zero."""

    ours: float
    theirs: float


def scale_difference(ours: npt.NDArray[Any], theirs: npt.NDArray[Any]) -> ScaleDifference | None:
    """Return the magnitudes of arrays that are measured in different units, None for others.

    A forgotten scaling moves everything by a large factor. Quantiles of the magnitudes are compared in a
    sample of both: those of all numbers, which outliers, noise or a drift do not all move, and those of the
    samples' means, of which anomalies leave some where they were. The factor must reach 50 (8 where one
    array holds integers and the other does not: mixing the two is a hint by itself).

    Parameters
    ----------
    ours, theirs : ndarray, shape (N, ...)
        Real numbers of any dtype. Arrays of fewer than 32 numbers that are neither zero nor infinite nor
        NaN, and two arrays of integers, which may be counts or ids, do not differ.
    """
    if ours.dtype.kind != "f" and theirs.dtype.kind != "f":
        return None
    (all_ours, row_ours), (all_theirs, row_theirs) = _magnitudes(ours), _magnitudes(theirs)
    if min(all_ours.size, all_theirs.size) < _FEWEST:
        return None
    levels, row_levels = (0.5, 0.9, 0.99), (0.1, 0.9)
    ratios = np.concatenate(
        [
            np.quantile(all_theirs, levels) / np.quantile(all_ours, levels),
            np.quantile(row_theirs, row_levels) / np.quantile(row_ours, row_levels),
        ]
    )
    limit = _LIMIT if ours.dtype.kind == theirs.dtype.kind else _MIXED_LIMIT
    if ratios.min() >= limit or ratios.max() <= 1 / limit:
        return ScaleDifference(float(np.median(all_ours)), float(np.median(all_theirs)))
    return None


def warn_of_scale(
    train: npt.NDArray[Any], other: npt.NDArray[Any], name: str, *, stacklevel: int = 1
) -> None:
    """Warn by a `ScaleWarning` if ``other`` is measured in other units than ``train``.

    Parameters
    ----------
    train, other : ndarray, shape (N, ...)
        As `scale_difference` takes them.
    name : str
        The argument that ``other`` came in.
    stacklevel : int
        Whose line is shown: 1 is the caller's.
    """
    found = scale_difference(train, other)
    if found is None:
        return
    warnings.warn(
        f"{name}: expected numbers of the same scale as the training data, whose typical non-zero "
        f"magnitude is {found.ours:.4g} ({train.dtype}), got {found.theirs:.4g} ({other.dtype}); "
        "was the same scaling applied to both? If this is as it should be, "
        'warnings.simplefilter("ignore", fusedlstm.ScaleWarning) silences it',
        ScaleWarning,
        stacklevel=stacklevel + 1,
    )


def _magnitudes(array: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return finite non-zero magnitudes of some rows spread over ``array``, and each row's mean of them."""
    step = max(1, array.size // _SAMPLE)
    rows = devices.to_host(array[::step]).astype(np.float64)
    sample = np.abs(rows.reshape(len(rows), -1))
    good = np.isfinite(sample) & (sample > 0)
    counts = good.sum(axis=1)
    sums = np.where(good, sample, 0.0).sum(axis=1)
    return sample[good], sums[counts > 0] / counts[counts > 0]
