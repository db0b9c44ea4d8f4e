"""Time: gaps between the sets, sets that overlap, time that runs backwards, and windows over one series."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.comparison.findings import Finding, number_text, share_text
from fusedlstm.comparison.sets import Rows, steps_of
from fusedlstm.comparison.testing import Family, Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fusedlstm.comparison.sets import AnyArray, Field

# A series is regular where no distance of two times is further from the usual one, and a gap is longer.
_REGULAR = 1.5
# In other series a gap is what chance does not bring; one so many times the longest distance needs no test.
_FAR = 10.0
_CORRELATED, _FEWEST_WINDOWS = 0.2, 8


def read_time(given: Any, lengths: tuple[int, int]) -> tuple[AnyArray, AnyArray] | None:
    """Return the times of both sets' samples, (N,) or (N, T), as they came.

    Raises
    ------
    TypeError, ValueError
        If it is no pair of arrays of numbers or dates, with one entry for each sample and without holes.
    """
    if given is None:
        return None
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise ValueError(f"time: expected a pair of arrays (train, test), got {type(given).__name__}")
    ours, theirs = (np.asarray(one) for one in given)
    for name, array, length in (("train", ours, lengths[0]), ("test", theirs, lengths[1])):
        if array.dtype.kind not in "iufM":
            raise TypeError(f"time: expected numbers or dates in {name}, got dtype {array.dtype}")
        if array.ndim not in (1, 2) or array.shape[0] != length or array.size == 0:
            raise ValueError(
                f"time: expected shape ({length},) or ({length}, steps) in {name}, got {array.shape}"
            )
        unknown = np.isnat(array) if array.dtype.kind == "M" else ~np.isfinite(array)
        if unknown.any():
            place = tuple(int(i) for i in np.argwhere(unknown)[0])
            raise ValueError(f"time: expected times without holes in {name}, got {array[place]} at {place}")
    if (ours.dtype.kind == "M") != (theirs.dtype.kind == "M"):
        raise TypeError(f"time: expected the same kind of times, got {ours.dtype} and {theirs.dtype}")
    return ours, theirs


def times(ours: AnyArray, theirs: AnyArray) -> tuple[list[Finding], Family | None]:
    """Return what is wrong with the order of times, and a test of the gap between irregular ones."""
    if ours.dtype.kind == "M":
        unit = "s"
        ours, theirs = (one.astype("datetime64[us]").astype(np.int64) / 1e6 for one in (ours, theirs))
    else:
        unit = ""
        ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    findings = [*_backwards("train", ours), *_backwards("test", theirs)]
    end, start = ours.max(), theirs.min()
    if start <= end:
        early = int((_last(theirs) <= end).sum())
        text = f"test begins {_length(end - start, unit)} before train ends"
        text += f"; {share_text(early, len(theirs))} test samples lie wholly within train's time"
        findings.append(Finding("time overlap", "warning", text, "time", statistic=float(end - start)))
        return findings, None
    within = np.concatenate([np.diff(np.unique(one)) for one in (ours, theirs)])
    if not within.size:
        return findings, None
    usual, longest, gap = float(np.median(within)), float(within.max()), float(start - end)
    text = (
        f"test begins {_length(gap, unit)} after train ends; times are usually {_length(usual, unit)} apart"
    )
    if longest <= _REGULAR * usual:
        if gap > _REGULAR * usual:
            findings.append(Finding("time gap", "warning", text, "time", statistic=gap / usual))
        return findings, None
    if gap > _FAR * longest and len(within) >= 20:
        findings.append(Finding("time gap", "warning", text, "time", statistic=gap / usual))
        return findings, None
    # Distances of one kind come in any order: any of n + 1 is the longest with the same chance.
    p = (1 + int((within >= gap).sum())) / (1 + len(within))
    return findings, Family(
        "gap", [Place("time", None, "gap")], np.array([gap / usual]), np.array([p]), [text]
    )


def gap_findings(family: Family, alpha: float) -> list[Finding]:
    """Return the finding of a gap that chance does not bring."""
    return [
        Finding("time gap", "warning", family.details[number], place.field, **family.numbers(number))
        for number, place in enumerate(family.places)
        if family.adjusted[number] <= alpha
    ]


def stride(array: AnyArray) -> int | None:
    """Return by how many steps rows (N, T, ...) go on along one series, as windows do; None for others."""
    if array.ndim < 2 or len(array) < 3 or array.shape[1] < 2:
        return None
    steps = array.shape[1]
    for by in range(1, steps):
        if not np.array_equal(array[0, by:], array[1, :-by]) or not np.array_equal(
            array[1, by:], array[2, :-by]
        ):
            continue
        if np.array_equal(array[:-1, by:], array[1:, :-by]) and not np.array_equal(array[0], array[1]):
            return by
    return None


def apart(fields: Sequence[Field], lengths: tuple[int, int]) -> tuple[Rows, list[Finding]]:
    """Return the samples that depend little on others of their set: fewer, where they are windows."""
    every = [1, 1]
    findings = []
    for field in fields:
        if steps_of(field.train) < 2 and field.kind != "ids":
            continue
        for number, (name, array) in enumerate((("train", field.train), ("test", field.test))):
            by = stride(array)
            if by is not None:
                every[number] = max(every[number], _independent(array, -(-array.shape[1] // by)))
                text = (
                    f"{field.name}: rows of {name} are windows over one series, {by} steps apart; tests took "
                    f"every {every[number]}th and treat these as independent"
                )
                findings.append(Finding("windows", "note", text, field.name))
    rows = (np.arange(0, length, step) for length, step in zip(lengths, every, strict=True))
    return Rows(*rows), findings


def _independent(windows: AnyArray, apart: int) -> int:
    """Return how far windows are apart that depend little on each other; they share no steps.

    The means of windows so many times as far apart have to correlate by less than 0.2, or by as little as
    chance allows; at least eight windows stay.
    """
    kept = windows[::apart].astype(np.float64)
    means = np.nan_to_num(kept.reshape(*kept.shape[:2], -1).mean(axis=1))
    means -= means.mean(axis=0)
    variance = (means**2).sum(axis=0)
    varied = variance > 0
    for lag in range(1, max(2, len(means) // _FEWEST_WINDOWS)):
        products = (means[lag:] * means[:-lag]).sum(axis=0)[varied] / variance[varied]
        if not varied.any() or products.max() < max(_CORRELATED, 2 / np.sqrt(len(means))):
            return apart * lag
    return max(apart, len(windows) // _FEWEST_WINDOWS)


def jump(field: Field) -> Family | None:
    """Return a test whether a series jumps between the sets, where the rows of both are its windows."""
    if field.kind != "numbers" or field.train.ndim < 3:
        return None
    by = stride(field.train), stride(field.test)
    if by[0] is None or by[1] is None:
        return None
    ours, theirs = _series(field.train, by[0]), _series(field.test, by[1])
    if any(
        len(ours) >= size and np.array_equal(ours[len(ours) - size :], theirs[:size])
        for size in range(1, field.test.shape[1])
    ):
        return None  # The sets overlap, which is found elsewhere.
    steps = np.abs(np.concatenate([np.diff(ours, axis=0), np.diff(theirs, axis=0)]))
    usual = np.median(steps, axis=0)
    usual[~(usual > 0)] = 1.0
    sizes = (steps / usual).max(axis=1)
    size = float((np.abs(theirs[0] - ours[-1]) / usual).max())
    p = (1 + int((sizes >= size).sum())) / (1 + len(sizes))
    text = (
        f"{field.name}: from train's last step to test's first the series moves {number_text(size)} times as "
        "far as usual: some time is missing, or test is of another series"
    )
    return Family("gap", [Place(field.name, None, "gap")], np.array([size]), np.array([p]), [text])


def _series(windows: AnyArray, by: int) -> NDArray[np.float64]:
    first = windows[0].reshape(windows.shape[1], -1)
    rest = windows[1:, -by:].reshape(-1, first.shape[1])
    return np.concatenate([first, rest]).astype(np.float64)


def _backwards(name: str, array: NDArray[np.float64]) -> list[Finding]:
    findings = []
    rows = array if array.ndim == 1 else array[:, 0]
    wrong = np.flatnonzero(np.diff(rows) < 0)
    if len(wrong):
        text = f"time runs backwards in {name} from sample {wrong[0]} to the next"
        if len(wrong) > 1:
            text += f", and {len(wrong) - 1:,} times more"
        findings.append(Finding("time order", "warning", text, "time", statistic=float(len(wrong))))
    if array.ndim == 2:
        inside = np.argwhere(np.diff(array, axis=1) < 0)
        if len(inside):
            row, step = (int(i) for i in inside[0])
            text = f"time runs backwards within samples of {name}, first in sample {row} after step {step}"
            findings.append(Finding("time order", "warning", text, "time", step=step))
    return findings


def _last(array: NDArray[np.float64]) -> NDArray[np.float64]:
    return array if array.ndim == 1 else array.max(axis=1)


def _length(value: float, unit: str) -> str:
    if not unit:
        return number_text(value)
    for name, seconds in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if value >= 2 * seconds:
            return f"{number_text(value / seconds)} {name}"
    return f"{number_text(value)} seconds"
