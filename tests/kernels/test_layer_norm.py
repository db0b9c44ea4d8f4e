"""layer_norm_forward and layer_norm_backward against the float64 reference and finite differences."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from fusedlstm import testing

from .devices import ops
from .problems import REDUCED, SIZES, Array, Number, assert_all_same_bits, assert_same_bits

DEVICES = True

Size = tuple[int, int]
SMALL: list[Size] = [(M, N) for M in (1, 3, 9) for N in SIZES]
LARGE: list[Size] = [(64, 128), (65, 257), (1, 1500), (300, 65), (1100, 5)]
EMPTY: list[Size] = [(0, 5), (3, 0)]


def arrays(size: Size, dtype: Number) -> tuple[Array, Array, Array, Array]:
    M, N = size
    random = np.random.default_rng(size)
    made = [random.standard_normal(shape).astype(dtype) for shape in ((M, N), (N,), (N,), (M, N))]
    return made[0], made[1], made[2], made[3]


def bounds(x: Array, gamma: Array, dy: Array, epsilon: float) -> tuple[Array, Array]:
    """Give bounds for n and for dx that no partial result exceeds: means and differences may cancel."""
    x64, dn = np.abs(x.astype(np.float64)), np.abs((dy * gamma).astype(np.float64))
    scale = 1 / np.sqrt(x.astype(np.float64).var(axis=1, keepdims=True) + epsilon)
    n = (x64 + x64.mean(axis=1, keepdims=True)) * scale
    dx = scale * (dn + dn.mean(axis=1, keepdims=True) + n * (n * dn).mean(axis=1, keepdims=True))
    return n, dx


def check(x: Array, gamma: Array, beta: Array, dy: Array, epsilon: float) -> None:
    dtype, (M, N) = x.dtype, x.shape
    y = ops.layer_norm_forward(x, gamma, beta, epsilon)
    dx, dgamma, dbeta = ops.layer_norm_backward(x, gamma, dy, epsilon)
    assert dx is not None
    if N == 0:
        assert y.shape == dx.shape == x.shape
        return
    of_n, of_dx = bounds(x, gamma, dy, epsilon)
    expected = testing.layer_norm_backward_reference(x, gamma, dy, epsilon)
    testing.assert_close(
        y,
        testing.layer_norm_reference(x, gamma, beta, epsilon),
        dtype=dtype,
        terms=N,
        scale=np.abs(gamma) * of_n + np.abs(beta),
        name="y",
    )
    size = np.abs(dy.astype(np.float64))
    for name, got, want, terms, scale in (
        ("dx", dx, expected[0], N, of_dx),
        ("dgamma", dgamma, expected[1], M + N, (of_n * size).sum(axis=0)),
        ("dbeta", dbeta, expected[2], M, size.sum(axis=0)),
    ):
        testing.assert_close(got, want, dtype=dtype, terms=terms, scale=scale, name=name)


@pytest.mark.parametrize("size", (SMALL[::4] if REDUCED else SMALL) + LARGE + EMPTY, ids=str)
def test_forward_and_backward(size: Size, dtype: Number) -> None:
    x, gamma, beta, dy = arrays(size, dtype)
    check(x, gamma, beta, dy, 1e-3)
    assert "layer_norm_backward" in ops.last_kernel()


@pytest.mark.parametrize("offset", [1e3, -1e4])
def test_a_large_mean_does_not_cancel(offset: float, dtype: Number) -> None:
    """As a mean of squares less a square, the variance would have no correct digit in float32."""
    x, gamma, beta, dy = arrays((5, 130), dtype)
    x = (0.1 * x + offset).astype(dtype)
    check(x, gamma, beta, dy, 1e-6)
    # The statistics are exact to a few units in the last place of x itself.
    y = ops.layer_norm_forward(x, epsilon=1e-6)
    want = testing.layer_norm_reference(x, epsilon=1e-6)
    assert np.abs(y - want).max() <= 4 * np.spacing(dtype(abs(offset))) / 0.1 + 100 * np.finfo(dtype).eps


def test_constant_rows(dtype: Number) -> None:
    """The variance is 0: y is beta, and gradients are finite."""
    for N in (1, 5, 33):
        x = np.repeat(np.array([[0.1], [-7.3], [0.0]], dtype), N, axis=1)
        _, gamma, beta, dy = arrays((3, N), dtype)
        check(x, gamma, beta, dy, 1e-3)
        if N == 1:
            assert_same_bits(ops.layer_norm_forward(x, gamma, beta), np.repeat(beta[None], 3, axis=0))
            dx, dgamma, _ = ops.layer_norm_backward(x, gamma, dy)
            assert dx is not None
            assert not dx.any()
            assert not dgamma.any()


def test_what_is_left_out(dtype: Number) -> None:
    x, gamma, beta, dy = arrays((7, 37), dtype)
    one, zero = np.ones_like(gamma), np.zeros_like(beta)
    assert_same_bits(ops.layer_norm_forward(x), ops.layer_norm_forward(x, one, zero))
    assert_same_bits(ops.layer_norm_forward(x, gamma), ops.layer_norm_forward(x, gamma, zero))
    for got, want in zip(
        ops.layer_norm_backward(x, None, dy), ops.layer_norm_backward(x, one, dy), strict=True
    ):
        assert_same_bits(got, want)
    dx, *others = ops.layer_norm_backward(x, gamma, dy, need_dx=False)
    assert dx is None
    for got, want in zip(others, ops.layer_norm_backward(x, gamma, dy)[1:], strict=True):
        assert_same_bits(got, want)


@pytest.mark.not_gpu
def test_strides(dtype: Number) -> None:
    x, gamma, beta, dy = arrays((12, 40), dtype)
    for view in (x[::3, 5:25], x[::-1, :20], x.T[:20], np.asfortranarray(x)):
        N = view.shape[1]
        own_dy = np.resize(dy, view.shape)
        copy, factors, offsets = np.ascontiguousarray(view), gamma[:1].repeat(N), beta[:1].repeat(N)
        assert_same_bits(
            ops.layer_norm_forward(view, factors, offsets), ops.layer_norm_forward(copy, factors, offsets)
        )
        for got, want in zip(
            ops.layer_norm_backward(view, factors, own_dy),
            ops.layer_norm_backward(copy, factors, own_dy),
            strict=True,
        ):
            assert_same_bits(got, want)


def test_finite_differences() -> None:
    x, gamma, beta, _ = arrays((3, 7), np.float64)

    def forward(x: Array, gamma: Array, beta: Array) -> tuple[Array, ...]:
        return (ops.layer_norm_forward(x, gamma, beta, 1e-3),)

    def gradient(projections: tuple[Array, ...], **inputs: Array) -> dict[str, Array]:
        gradients = ops.layer_norm_backward(inputs["x"], inputs["gamma"], projections[0], 1e-3)
        names = ("x", "gamma", "beta")
        return {name: own for name, own in zip(names, gradients, strict=True) if own is not None}

    testing.check_gradients(forward, gradient, {"x": x, "gamma": gamma, "beta": beta}, elements=None)


@pytest.mark.cpu
@pytest.mark.not_reduced
def test_threads_on_many_rows(dtype: Number) -> None:
    x, gamma, beta, dy = arrays((3000, 130), dtype)

    def run() -> dict[str, Array]:
        dx, dgamma, dbeta = ops.layer_norm_backward(x, gamma, dy)
        assert dx is not None
        return {"y": ops.layer_norm_forward(x, gamma, beta), "dx": dx, "dgamma": dgamma, "dbeta": dbeta}

    ops.set_num_threads(1)
    expected = run()
    for threads in (2, 3, 5):
        ops.set_num_threads(threads)
        assert_all_same_bits(run(), expected, f"{threads} threads")
    # Where others have the cores, a call after a pause does without threads.
    deadline = time.monotonic() + 60
    while f"{threads} threads" not in ops.last_kernel():
        assert time.monotonic() < deadline, ops.last_kernel()
        run()


def test_nan_stays_in_its_row(dtype: Number) -> None:
    x, gamma, beta, _ = arrays((3, 19), dtype)
    x[1, 4] = np.nan
    x[2, 18] = np.inf
    y = ops.layer_norm_forward(x, gamma, beta)
    assert np.isnan(y[1:]).all()
    assert np.isfinite(y[0]).all()


def test_errors(dtype: Number) -> None:
    x, gamma, beta, dy = arrays((3, 5), dtype)
    other = np.float64 if dtype is np.float32 else np.float32
    wrong: list[tuple[tuple[Any, ...], type[Exception], str]] = [
        ((x[0], gamma, beta), ValueError, r"^x: expected shape \(M, N\), got shape \(5,\)"),
        ((x, gamma[:4], beta), ValueError, r"^gamma: expected shape \(N=5,\), got shape \(4,\)"),
        ((x, gamma, beta[:4]), ValueError, r"^beta: expected shape \(N=5,\), got shape \(4,\)"),
        ((x, gamma.astype(other), beta), TypeError, "^gamma: expected "),
        ((x, gamma, beta, 0.0), ValueError, "^epsilon: expected a (positive|finite) number, got 0"),
        ((x, gamma, beta, np.nan), ValueError, "^epsilon: expected a (positive|finite) number, got nan"),
    ]
    for arguments, error, text in wrong:
        with pytest.raises(error, match=text):
            ops.layer_norm_forward(*arguments)
    with pytest.raises(ValueError, match=r"^dy: expected shape \(M=3, N=5\), got shape \(2, 5\)"):
        ops.layer_norm_backward(x, gamma, dy[:2])
