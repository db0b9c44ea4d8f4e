"""Hashes of rows and of stretches of steps, by which equal ones are found."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusedlstm.comparison.sets import AnyArray

Hashes: TypeAlias = npt.NDArray[np.uint64]

_ODD = np.uint64(0x9E3779B97F4A7C15)


def common(train: AnyArray, test: AnyArray) -> tuple[AnyArray, AnyArray]:
    """Return both in the coarser number type of the two, in which a row and its copy are equal again."""
    kinds = {train.dtype.kind, test.dtype.kind}
    if "f" not in kinds:
        return train.astype(np.int64), test.astype(np.int64)
    floats = [one.dtype.itemsize for one in (train, test) if one.dtype.kind == "f"]
    dtype = np.float32 if min(floats) <= 4 else np.float64
    with np.errstate(over="ignore"):
        return train.astype(dtype), test.astype(dtype)


def hash_rows(arrays: Sequence[AnyArray]) -> Hashes:
    """Return a hash (N,) of each row of several arrays together; equal rows have the same."""
    total = np.zeros(len(arrays[0]), np.uint64)
    for array in arrays:
        with np.errstate(over="ignore"):
            total = _mixed(total * _ODD + _row(_bits(array).reshape(len(array), -1)))
    return total


def hash_stretches(array: AnyArray, length: int) -> Hashes:
    """Return hashes (N, T - length + 1) of all stretches of so many steps of (N, T, ...)."""
    bits = _bits(array)
    n, steps = bits.shape[:2]
    each = _row(bits.reshape(n * steps, -1)).reshape(n, steps)
    with np.errstate(over="ignore"):
        # A polynomial in an odd base, whose powers have inverses modulo 2^64, makes stretches differences.
        inverse = pow(int(_ODD), -1, 1 << 64)
        powers = np.cumprod(np.full(steps + 1, _ODD)) * np.uint64(inverse)
        inverses = np.cumprod(np.full(steps + 1, np.uint64(inverse))) * _ODD
        sums = np.zeros((n, steps + 1), np.uint64)
        sums[:, 1:] = np.cumsum(each * powers[:-1], axis=1)
        starts = steps - length + 1
        return _mixed((sums[:, length:] - sums[:, :starts]) * inverses[:starts])


def _bits(array: AnyArray) -> Hashes:
    """Return the bits of numbers, one for zero of either sign and one for all NaN."""
    if array.dtype.kind != "f":
        return array.astype(np.int64).view(np.uint64)
    clean = array + array.dtype.type(0)  # -0 + 0 is +0
    clean[np.isnan(clean)] = np.nan
    whole = np.uint32 if clean.dtype.itemsize == 4 else np.uint64
    return np.ascontiguousarray(clean).view(whole).astype(np.uint64)


def _row(bits: Hashes) -> Hashes:
    """Hash rows (N, K) to (N,): mixed numbers in a sum, in which each place has a factor of its own."""
    factors = _mixed(np.arange(1, bits.shape[1] + 1, dtype=np.uint64)) | np.uint64(1)
    with np.errstate(over="ignore"):
        return _mixed((_mixed(bits + _ODD) * factors).sum(axis=1, dtype=np.uint64))


def _mixed(z: Hashes) -> Hashes:
    """Return SplitMix64's output function of each number (Steele, Lea, Flood 2014)."""
    with np.errstate(over="ignore"):
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
