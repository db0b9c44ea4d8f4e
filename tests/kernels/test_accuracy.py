"""The vector sigmoid and tanh, read off the gates of cell_forward, in units in the last place."""

from __future__ import annotations

import numpy as np
import pytest

from fusedlstm import ops

from .problems import REDUCED, Array, Number, assert_same_bits

# Stated next to the functions in csrc/cpu/isa/vec_math.h.
SIGMOID_ULP = 2.5
TANH_ULP = 3.0

POINTS = 20_000 if REDUCED else 400_000
# Below -REACH sigmoid stays at exp(-REACH), about the smallest normal number.
REACH = {np.float32: 87.0, np.float64: 708.0}


def sweep(dtype: Number) -> Array:
    """Give points evenly spaced where the functions bend, and by magnitude down to the smallest normals."""
    tiny = float(np.finfo(dtype).tiny)
    random = np.random.default_rng(0)
    parts = [
        np.linspace(-REACH[dtype], REACH[dtype], POINTS),
        np.linspace(-10, 10, POINTS),
        np.geomspace(tiny, 1e4, POINTS),
        # Halves of multiples of ln 2, where exp changes its power of two.
        np.log(2) / 2 * np.arange(-260, 260)[:, None] * (1 + 1e-6 * random.standard_normal(20)),
        [0.0, tiny, 2 * tiny, 0.5, 1.0, 20.0, 40.0, 88.0, 709.0, 1e30, float(np.finfo(dtype).max)],
    ]
    # Rounding to float32 can only be away from the denormal numbers, as tiny is representable.
    points = np.concatenate([np.ravel(part) for part in parts]).astype(dtype)
    points = points[(points == 0) | (np.abs(points) >= tiny)]
    return np.concatenate([points, -points])


def gates_at(points: Array) -> tuple[Array, Array, Array, Array]:
    """Evaluate i, f, c~ and o of one row with a unit for each point."""
    z = np.tile(points, 4)[None]
    _, _, gates = ops.cell_forward(z, np.zeros((1, points.size), points.dtype))
    i, f, g, o = np.split(gates[0], 4)
    return i, f, g, o


def more_precise(points: Array) -> Array:
    """Give the points in a type with enough further digits that the reference's rounding does not matter."""
    if points.dtype == np.float32:
        return points.astype(np.float64)
    if np.finfo(np.longdouble).nmant < 60:
        pytest.skip("long double is no more precise than float64 on this machine")
    return points.astype(np.longdouble)


def ulp_errors(actual: Array, expected: Array) -> Array:
    spacing = np.spacing(np.abs(expected).astype(actual.dtype)).astype(expected.dtype)
    errors: Array = np.abs(actual.astype(expected.dtype) - expected) / spacing
    return errors


def assert_ulp(actual: Array, expected: Array, points: Array, limit: float) -> None:
    errors = ulp_errors(actual, expected)
    worst = int(np.argmax(errors))
    assert errors[worst] <= limit, f"{float(errors[worst])} ulp at {points[worst]!r}: got {actual[worst]!r}"
    assert not np.isnan(errors).any()


def test_sigmoid(dtype: Number) -> None:
    points = sweep(dtype)
    points = points[points >= -REACH[dtype]]
    x = more_precise(points)
    with np.errstate(over="ignore"):
        expected = 1 / (1 + np.exp(-x))
    i, f, _, o = gates_at(points)
    assert_ulp(i, expected, points, SIGMOID_ULP)
    assert_same_bits(f, i, "f and i")
    assert_same_bits(o, i, "o and i")
    assert i.max() <= 1


def test_sigmoid_far_below_zero(dtype: Number) -> None:
    """Where the exact value nears the denormal numbers, the error is below two smallest normal numbers."""
    points = np.concatenate([np.linspace(-REACH[dtype], -1e3, 1001), [-1e4, -1e30, -np.inf]]).astype(dtype)
    i, _, _, _ = gates_at(points)
    assert (i >= 0).all()
    exact = np.exp(np.maximum(points.astype(np.float64), -745.0))
    assert np.abs(i - exact).max() <= 2 * float(np.finfo(dtype).tiny)


def test_tanh(dtype: Number) -> None:
    points = sweep(dtype)
    x = more_precise(points)
    with np.errstate(over="ignore", under="ignore"):
        m = np.expm1(-2 * np.abs(x))
    expected = np.copysign(-m / (2 + m), x)
    _, _, g, _ = gates_at(points)
    assert_ulp(g, expected, points, TANH_ULP)
    assert np.abs(g).max() <= 1


def test_tanh_is_odd(dtype: Number) -> None:
    points = sweep(dtype)
    _, _, g, _ = gates_at(points)
    _, _, g_negated, _ = gates_at(-points)
    assert_same_bits(g_negated, -g, "tanh(-x) and -tanh(x)")


def test_exact_values(dtype: Number) -> None:
    big = float(np.finfo(dtype).max)
    points = np.array([0.0, -0.0, 1e4, -1e4, big, -big, np.inf, -np.inf], dtype)
    i, _, g, _ = gates_at(points)
    np.testing.assert_array_equal(g, np.array([0, 0, 1, -1, 1, -1, 1, -1], dtype))
    np.testing.assert_array_equal(np.signbit(g), np.signbit(points))
    np.testing.assert_array_equal(i[[0, 1, 2, 4, 6]], np.array([0.5, 0.5, 1, 1, 1], dtype))
    assert (i[[3, 5, 7]] <= 2 * np.finfo(dtype).tiny).all()


def test_not_a_number(dtype: Number) -> None:
    points = np.linspace(-2, 2, 40).astype(dtype)
    for position in (0, 5, 39):
        with_nan = points.copy()
        with_nan[position] = np.nan
        for name, got, want in zip("ifgo", gates_at(with_nan), gates_at(points), strict=True):
            assert np.isnan(got[position]), name
            others = np.arange(40) != position
            assert_same_bits(got[others], want[others], name)
