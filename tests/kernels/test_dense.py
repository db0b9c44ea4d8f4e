"""dense_forward and dense_backward against the float64 reference."""

from __future__ import annotations

import numpy as np
import pytest

from fusedlstm import testing

from .devices import ops
from .problems import REDUCED, SIZES, Array, Number, assert_same_bits

DEVICES = True

Size = tuple[int, int, int]
_COUNT = len(SIZES)
SMALL: list[Size] = [
    (SIZES[j], SIZES[(j + k) % _COUNT], SIZES[k]) for j in range(_COUNT) for k in range(_COUNT)
]
LARGE: list[Size] = [(64, 128, 32), (65, 700, 10), (3, 257, 130), (300, 20, 70), (1, 1500, 5)]
EMPTY: list[Size] = [(0, 5, 9), (0, 1, 1)]


def arrays(size: Size, dtype: Number) -> tuple[Array, Array, Array, Array]:
    M, K, N = size
    random = np.random.default_rng(size)
    made = [random.standard_normal(shape).astype(dtype) for shape in ((M, K), (K, N), (N,), (M, N))]
    return made[0], made[1], made[2], made[3]


def product_scale(a: Array, b: Array) -> Array:
    """Give the sum of the terms' magnitudes: no partial sum is larger."""
    return np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)


@pytest.mark.parametrize("size", (SMALL[::9] if REDUCED else SMALL) + LARGE + EMPTY, ids=str)
def test_forward_and_backward(size: Size, dtype: Number) -> None:
    x, kernel, bias, dy = arrays(size, dtype)
    M, K, N = size
    y = ops.dense_forward(x, kernel, bias)
    testing.assert_close(
        y,
        testing.dense_forward_reference(x, kernel, bias),
        dtype=dtype,
        terms=K + 1,
        scale=product_scale(x, kernel) + np.abs(bias),
        name="y",
    )
    without_bias = ops.dense_forward(x, kernel)
    assert_same_bits(without_bias, ops.dense_forward(x, kernel, np.zeros_like(bias)), "y")

    dx, dkernel, dbias = ops.dense_backward(x, kernel, dy)
    expected = testing.dense_backward_reference(x, kernel, dy)
    assert dx is not None
    assert dbias is not None
    for name, got, want, terms, scale in (
        ("dx", dx, expected[0], N, product_scale(dy, kernel.T)),
        ("dkernel", dkernel, expected[1], M, product_scale(x.T, dy)),
        ("dbias", dbias, expected[2], M, np.abs(dy).astype(np.float64).sum(axis=0)),
    ):
        testing.assert_close(got, want, dtype=dtype, terms=terms, scale=scale, name=name)


@pytest.mark.parametrize("size", [(17, 33, 9), (0, 5, 9)], ids=str)
def test_parts_left_out(size: Size, dtype: Number) -> None:
    x, kernel, _, dy = arrays(size, dtype)
    dx, dkernel, dbias = ops.dense_backward(x, kernel, dy)
    no_dx = ops.dense_backward(x, kernel, dy, need_dx=False)
    no_bias = ops.dense_backward(x, kernel, dy, use_bias=False)
    assert dx is not None
    assert dbias is not None
    assert no_dx[0] is None
    assert no_dx[2] is not None
    assert no_bias[0] is not None
    assert no_bias[2] is None
    assert_same_bits(no_dx[1], dkernel, "dkernel")
    assert_same_bits(no_dx[2], dbias, "dbias")
    assert_same_bits(no_bias[0], dx, "dx")
    assert_same_bits(no_bias[1], dkernel, "dkernel")


def test_finite_differences() -> None:
    x, kernel, bias, _ = arrays((4, 9, 7), np.float64)

    def gradient(projections: tuple[Array, ...], x: Array, kernel: Array, bias: Array) -> dict[str, Array]:
        assert bias.shape == (7,)
        dx, dkernel, dbias = ops.dense_backward(x, kernel, projections[0])
        assert dx is not None
        assert dbias is not None
        return {"x": dx, "kernel": dkernel, "bias": dbias}

    inputs = {"x": x, "kernel": kernel, "bias": bias}
    testing.check_gradients(ops.dense_forward, gradient, inputs, terms=10)
