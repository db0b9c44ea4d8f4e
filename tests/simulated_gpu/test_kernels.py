"""Kernels that are right give the right results in every order of threads, without a false alarm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Array = NDArray[Any]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def normal(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


def rounded(x: Array, bits: int, *, ties_to_even: bool) -> Array:
    """Round float32 to so few bits of significand, by exact arithmetic on scaled numbers."""
    fraction, exponent = np.frexp(x.astype(np.float64))
    scaled = np.ldexp(fraction, bits)
    whole = np.rint(scaled) if ties_to_even else np.trunc(scaled + np.copysign(0.5, scaled))
    result: Array = np.ldexp(whole, exponent - bits)
    return result


def to_tf32(x: Array) -> Array:
    return rounded(x, 11, ties_to_even=False)


def truncated(x: Array) -> Array:
    return (x.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32).astype(np.float64)


def to_float16(x: Array) -> Array:
    return x.astype(np.float16).astype(np.float64)


def to_bfloat16(x: Array) -> Array:
    return rounded(x, 8, ties_to_even=True)


def test_sums_by_shuffles(simt: Any, rng: np.random.Generator) -> None:
    # Whole numbers, whose sums are exact in any order.
    x = rng.integers(-100, 100, (5, 301)).astype(np.float32)
    sums = simt.empty(5, np.float32)
    simt.reduce_rows(simt.array(x), sums)
    np.testing.assert_array_equal(sums, x.sum(axis=1))


@pytest.mark.parametrize("shape", [(1, 1, 1), (16, 16, 16), (37, 21, 45), (5, 33, 64)])
def test_tiled_product(simt: Any, rng: np.random.Generator, shape: tuple[int, int, int]) -> None:
    m, n, k = shape
    a = rng.integers(-9, 9, (m, k)).astype(np.float32)
    b = rng.integers(-9, 9, (k, n)).astype(np.float32)
    c = simt.empty((m, n), np.float32)
    simt.multiply_matrices(simt.array(a), simt.array(b), c)
    np.testing.assert_array_equal(c, a @ b)


@pytest.mark.parametrize(
    ("number", "depth", "convert"),
    [
        ("tf32", 8, to_tf32),
        ("tf32 truncated", 8, truncated),
        ("float16", 16, to_float16),
        ("bfloat16", 16, to_bfloat16),
    ],
)
def test_tensor_core_product(
    simt: Any, rng: np.random.Generator, number: str, depth: int, convert: Any
) -> None:
    a, b, c = normal(rng, 16, depth), normal(rng, depth, 8), normal(rng, 16, 8)
    d = simt.empty((16, 8), np.float32)
    simt.multiply_tile(number, *map(simt.array, (a, b, c)), d)
    expected = c.astype(np.float64)
    for k in range(depth):
        expected += np.outer(convert(a[:, k]), convert(b[k]))
    np.testing.assert_array_equal(d, expected.astype(np.float32))


def test_conversions(simt: Any, rng: np.random.Generator) -> None:
    special = [
        0.0,
        -0.0,
        np.inf,
        -np.inf,
        np.nan,
        65504,
        65519.996,
        65520,
        2.0**-24,
        2.0**-25,
        3 * 2.0**-26,
        1e-30,
    ]
    ties = [1 + 2.0**-11, 1 + 3 * 2.0**-11, 1 + 2.0**-8, 1 + 3 * 2.0**-8, 1 + 2.0**-11 + 2.0**-23]
    scales = np.ldexp(normal(rng, 3000), rng.integers(-30, 17, 3000))
    x = np.concatenate([special, ties, np.negative(ties), scales]).astype(np.float32)
    half, bfloat16, tf32 = (simt.empty(len(x), np.float32) for _ in range(3))
    simt.convert(simt.array(x), half, bfloat16, tf32)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(half, x.astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(bfloat16, to_bfloat16(x))
    np.testing.assert_array_equal(tf32, to_tf32(x))


def test_intrinsics(simt: Any, rng: np.random.Generator) -> None:
    x = np.concatenate([3 * normal(rng, 396), [-40, 1e-3, 2, 80]]).astype(np.float32)
    y = simt.empty((7, 400), np.float32)
    simt.intrinsics(simt.array(x), y)
    wide = x.astype(np.float64)
    # CUDA documents 2 ulp and 1.173 |x| more for __expf, 2^-21.4 in places for __logf, and 2 ulp for the
    # division and rsqrtf; PTX documents 2^-10.987 for tanh.approx.
    ulp = 2.0**-23
    np.testing.assert_array_less(np.abs(y[0] / np.exp(wide) - 1), (2 + 1.173 * np.abs(wide)) * ulp)
    np.testing.assert_allclose(y[1], np.log(np.abs(wide)), rtol=3 * ulp, atol=2.0**-21.4)
    np.testing.assert_allclose(y[2], 1 / wide, rtol=2 * ulp)
    np.testing.assert_allclose(y[3], 1 / np.sqrt(np.abs(wide)), rtol=2 * ulp)
    np.testing.assert_allclose(y[4], np.tanh(wide), rtol=2.0**-10.987)
    assert np.any(y[4] != np.tanh(x))
    np.testing.assert_array_equal(y[5], np.clip(x, 0, 1))
    np.testing.assert_array_equal(y[6], np.clip(x, -1, 1))


@pytest.mark.parametrize("blocks", [1, 3, 8])
def test_cooperative_pipeline(simt: Any, blocks: int) -> None:
    expected = np.arange(1000) % 7
    x = simt.array(expected.astype(np.float32), "x")
    simt.pipeline(x, simt.empty(1000, np.float32, "scratch"), 6, blocks)
    for _ in range(6):
        expected = expected + np.roll(expected, 1)
    np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("group", [1, 2, 4])
def test_barriers_of_some_blocks(simt: Any, group: int) -> None:
    rows, columns, steps = 2, 300, 4
    x = simt.array((np.arange(rows * columns) % 7).reshape(rows, columns).astype(np.float32), "x")
    scratch = simt.empty((rows, columns), np.float32, "scratch")
    expected = x.copy()
    simt.pipelines(x, scratch, simt.array(np.zeros(rows, np.uint32), "counters"), steps, group)
    for row in range(rows):
        for _ in range(steps + row):
            expected[row] += np.roll(expected[row], 1)
        np.testing.assert_array_equal((scratch if row % 2 else x)[row], expected[row])


def test_matrices_from_shared_memory(simt: Any) -> None:
    x = np.arange(256, dtype=np.uint16).reshape(4, 8, 8)
    y = simt.empty((2, 4, 8, 8), np.uint16)
    simt.transpose_tile(simt.array(x), y)
    np.testing.assert_array_equal(y[0], x)
    np.testing.assert_array_equal(y[1], x.swapaxes(1, 2))


def test_atomics(simt: Any, rng: np.random.Generator) -> None:
    x = rng.integers(0, 10, 1000).astype(np.int32)
    counts = simt.array(np.zeros(10, np.int32))
    simt.histogram(simt.array(x), counts)
    np.testing.assert_array_equal(counts, np.bincount(x, minlength=10))


@pytest.mark.parametrize("ones", [[], [3], [31, 32], range(40)])
def test_votes(simt: Any, ones: list[int]) -> None:
    x = np.zeros(40, np.int32)
    x[ones] = 1
    results = simt.empty((2, 6), np.int32)
    simt.votes(simt.array(x), results)
    for warp, lanes in enumerate((x[:32], x[32:])):
        ballot = np.packbits(lanes == 1, bitorder="little").view(np.uint8)
        assert results[warp, 0] == int.from_bytes(ballot.tobytes(), "little") - (
            2**32 if ballot.size > 3 and lanes[31] else 0
        )
        assert list(results[warp, 1:]) == [lanes.any(), lanes.all(), x.sum(), x.all(), x.any()]


def test_order_within_a_warp(simt: Any, rng: np.random.Generator) -> None:
    x = rng.integers(-100, 100, 160).astype(np.float32)
    y = simt.empty(160, np.float32)
    simt.scan_warps(simt.array(x), y)
    np.testing.assert_array_equal(y, x.reshape(-1, 32).cumsum(axis=1).ravel())
