"""Dense layers' products of bfloat16."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fusedlstm import ops, testing

from .problems import Array, assert_all_same_bits, assert_same_bits
from .products import product_set, rounded

__all__ = ["product_set"]  # the fixture

Size = tuple[int, int, int]
# Around the rows and the features of tiles, the pieces that features are cut into, and blocks of rows.
SIZES: list[Size] = [
    (1, 1, 1),
    (1, 40, 129),
    (2, 33, 65),
    (16, 32, 64),
    (17, 31, 15),
    (33, 64, 70),
    (65, 700, 10),
    (3, 1024, 5),
    (3, 1025, 5),
    (40, 2500, 130),
    (1100, 20, 70),
    (300, 1030, 3),
    (0, 5, 9),
    (5, 0, 9),
]


def arrays(size: Size) -> tuple[Array, Array, Array, Array]:
    M, K, N = size
    random = np.random.default_rng(size)
    made = [random.standard_normal(shape).astype(np.float32) for shape in ((M, K), (K, N), (N,), (M, N))]
    return made[0], made[1], made[2], made[3]


def largest_sums(a: Array, b: Array) -> Array:
    """Give the sum of the terms' magnitudes: no partial sum is larger."""
    return np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_rounded_operands(product_set: str, size: Size) -> None:
    """What the reference gives of the rounded operands; the bias and its gradient are not rounded."""
    x, kernel, bias, dy = arrays(size)
    M, K, N = size
    if K == 0:
        assert_same_bits(ops.dense_forward(x, kernel, bias, compute="bfloat16"), np.tile(bias, (M, 1)), "y")
        return
    y = ops.dense_forward(x, kernel, bias, compute="bfloat16")
    assert f"bfloat16 products by {product_set}" in ops.last_kernel()
    dx, dkernel, dbias = ops.dense_backward(x, kernel, dy, compute="bfloat16")
    assert f"bfloat16 products by {product_set}" in ops.last_kernel()
    short_x, short_kernel, short_dy = rounded(x), rounded(kernel), rounded(dy)
    expected = testing.dense_backward_reference(short_x, short_kernel, short_dy)
    assert dx is not None
    assert dbias is not None
    for name, got, want, terms, scale in (
        (
            "y",
            y,
            testing.dense_forward_reference(short_x, short_kernel, bias),
            K + 1,
            largest_sums(short_x, short_kernel) + np.abs(bias),
        ),
        ("dx", dx, expected[0], N, largest_sums(short_dy, short_kernel.T)),
        ("dkernel", dkernel, expected[1], M, largest_sums(short_x.T, short_dy)),
        ("dbias", dbias, dy.astype(np.float64).sum(axis=0), M, np.abs(dy).astype(np.float64).sum(axis=0)),
    ):
        testing.assert_close(got, want, dtype=np.float32, terms=terms, scale=scale, name=name)


@pytest.mark.usefixtures("product_set")
@pytest.mark.parametrize("size", [(70, 1300, 40), (40, 90, 700)], ids=str)
def test_bits(size: Size) -> None:
    """The same for any number of threads, of part of the rows, and of arrays that lie otherwise."""
    x, kernel, bias, dy = arrays(size)

    def results(x: Array, kernel: Array) -> dict[str, Any]:
        y = ops.dense_forward(x, kernel, bias, compute="bfloat16")
        dx, dkernel, dbias = ops.dense_backward(x, kernel, dy, compute="bfloat16")
        return {"y": y, "dx": dx, "dkernel": dkernel, "dbias": dbias}

    ops.set_num_threads(1)
    expected = results(x, kernel)
    for threads in (2, 3, 5):
        ops.set_num_threads(threads)
        assert_all_same_bits(results(x, kernel), expected, f"{threads} threads")
    part = ops.dense_forward(x[3:20], kernel, bias, compute="bfloat16")
    assert_same_bits(part, expected["y"][3:20], "y")
    strided = np.zeros((size[0], size[1] + 7), np.float32)[:, : size[1]]
    strided[:] = x
    wide = np.zeros((size[1], size[2] + 5), np.float32)[:, : size[2]]
    wide[:] = kernel
    assert_all_same_bits(results(strided, wide), expected, "strided")


@pytest.mark.usefixtures("product_set")
def test_nan_and_infinity() -> None:
    """They stay in their rows."""
    x, kernel, bias, _ = arrays((35, 40, 70))
    expected = ops.dense_forward(x, kernel, bias, compute="bfloat16")
    for row, value in ((1, np.nan), (20, np.inf), (34, -np.inf)):
        changed = x.copy()
        changed[row, 9] = value
        y = ops.dense_forward(changed, kernel, bias, compute="bfloat16")
        assert not np.isfinite(y[row]).any()
        y[row] = expected[row]
        assert_same_bits(y, expected, "y")


def test_errors() -> None:
    x, kernel, bias, dy = arrays((3, 4, 5))
    wrong: list[tuple[object, type[Exception], str]] = [
        ("int8", ValueError, r"^compute: expected None or 'bfloat16', got 'int8'"),
        (16, TypeError, r"^compute: expected None or 'bfloat16', got int"),
    ]
    for compute, error, text in wrong:
        with pytest.raises(error, match=text):
            ops.dense_forward(x, kernel, bias, compute=compute)  # type: ignore[arg-type]
        with pytest.raises(error, match=text):
            ops.dense_backward(x, kernel, dy, compute=compute)  # type: ignore[arg-type]
    double = [a.astype(np.float64) for a in (x, kernel, bias, dy)]
    with pytest.raises(ValueError, match=r"^compute: expected None for float64, got 'bfloat16'"):
        ops.dense_forward(*double[:3], compute="bfloat16")
