"""Sums over rows, on the simulated GPU, against float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from .calls import address
from .sequences import ARRAYS

Array = NDArray[Any]

NUMBERS = ["float32", "float64", "float16", "bfloat16"]
# No rows and one; columns of whole packs and not, fewer and more than a block's; rows for one range and more,
# some of which are shorter.
SHAPES = [(0, 5), (1, 1), (1, 300), (3, 8), (65, 16), (130, 33), (257, 264), (2100, 3), (700, 260)]


def wide(array: Array) -> Array:
    return np.asarray(array, np.float64)


def sums_of(kernels: Any, x: Any, *, wide: bool = False) -> Array:
    """Run the kernel on an array in device memory."""
    M, N = x.shape
    number = x.dtype.name
    state = np.dtype(np.float64 if number == "float64" else np.float32)
    ranges = kernels.column_sum_ranges(number, M, N)
    sums = kernels.empty(N, state if wide else x.dtype, "sums")
    partials = kernels.empty((ranges, N), state, "partials") if ranges > 1 else None
    kernels.column_sums(
        number=number,
        rows=M,
        columns=N,
        wide=wide,
        x=address(x),
        sums=address(sums),
        partials=address(partials),
    )
    result: Array = np.array(sums)
    return result


def normal(shape: tuple[int, ...], number: str) -> Array:
    return np.random.default_rng([9, *shape]).standard_normal(shape).astype(ARRAYS[number])


@pytest.mark.parametrize("returns_wide", [False, True], ids=["", "wide"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("number", NUMBERS)
def test_against_float64(kernels: Any, number: str, shape: tuple[int, int], returns_wide: bool) -> None:
    x = normal(shape, number)
    got = sums_of(kernels, kernels.array(x, "x"), wide=returns_wide)
    want = wide(x).sum(axis=0)
    # Each addition rounds to a unit u of what has been added, of which none is larger than all magnitudes.
    unit = 2.0 ** -(53 if number == "float64" else 24)
    allowed = shape[0] * unit * np.abs(wide(x)).sum(axis=0)
    if got.dtype == x.dtype:
        # A 16-bit result is rounded once more, to half a unit of its last place.
        allowed += {"float16": 2.0**-11, "bfloat16": 2.0**-8}.get(number, 0) * np.abs(want)
    assert np.all(np.abs(wide(got) - want) <= allowed)
    if not shape[0]:
        assert not np.any(wide(got))


@pytest.mark.parametrize("number", NUMBERS)
def test_ranges_are_few(kernels: Any, number: str) -> None:
    assert kernels.column_sum_ranges(number, 64, 4096) == 1
    assert 1 < kernels.column_sum_ranges(number, 700, 260) <= 16
    assert 16 <= kernels.column_sum_ranges(number, 2**14, 3072) <= 256
    assert kernels.column_sum_ranges(number, 2**40, 1) <= 256
    assert kernels.column_sum_ranges(number, 2**40, 0) == 1


@pytest.mark.parametrize("number", ["float32", "float16"])
def test_same_bits_at_any_address(kernels: Any, number: str) -> None:
    x = normal((130, 64), number)
    whole = kernels.empty(x.size + 1, x.dtype)
    whole[1:] = x.reshape(-1)
    shifted = whole[1:].reshape(x.shape)
    got, want = (sums_of(kernels, array, wide=True) for array in (shifted, kernels.array(x, "x")))
    np.testing.assert_array_equal(got, want)


def test_nan_stays_in_its_column(kernels: Any) -> None:
    x = normal((130, 40), "float32")
    want = sums_of(kernels, kernels.array(x))
    x[77, 3] = np.nan
    got = sums_of(kernels, kernels.array(x))
    assert np.isnan(got[3])
    np.testing.assert_array_equal(np.delete(got, 3), np.delete(want, 3))


def test_no_place_for_ranges(kernels: Any) -> None:
    x, sums = kernels.array(normal((700, 260), "float32")), kernels.empty(260, np.float32)
    with pytest.raises(ValueError, match="partials: expected an array for the sums of ranges, got None"):
        kernels.column_sums(number="float32", rows=700, columns=260, x=address(x), sums=address(sums))
