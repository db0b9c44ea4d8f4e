"""Weights kept in fewer bits: exact for the rounded weights, which are as close as the format allows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from fusedlstm import ops, testing

from .problems import (
    LARGE_SHAPES,
    ONE_STEP_SHAPES,
    SHAPES,
    Array,
    Problem,
    Shape,
    assert_same_bits,
    make_problem,
    shape_id,
)

STORAGES = ("bfloat16", "int8")


def packed(p: Problem, storage: str) -> ops.LSTMWeights:
    return ops.LSTMWeights(*p.weights, storage=storage)


def bfloat16(array: Array) -> Array:
    """Round to 8 significant bits, ties to even."""
    mantissa, exponent = np.frexp(array.astype(np.float64))
    return np.ldexp(np.round(mantissa * 256) / 256, exponent)


def activation_rounding(p: Problem, kernel: Array, recurrent_kernel: Array, cells: Array) -> float:
    """Return the largest error that rounding the left operand of int8 products explains.

    Rows become multiples of 1/32767 of their largest element: errors of a standard deviation of that step
    over sqrt(12), eight of which no sum of their products exceeds in practice. Each step adds such an error
    to those before it, and a cell hands it on at most max(1, |c|) times as large.
    """

    def largest(rows: Array, weights: Array) -> float:
        return float(
            np.abs(rows).max(initial=0) * np.linalg.norm(weights.astype(np.float64), axis=0).max(initial=0)
        )

    states = max(1.0, float(np.abs(p.h0).max(initial=0)))
    step = largest(p.x, kernel) + states * largest(np.ones(1), recurrent_kernel)
    cell = max(1.0, float(np.abs(cells).max(initial=0)))
    steps: int = p.x.shape[1]
    return 8 / (32767 * math.sqrt(12)) * step * steps * cell


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("shape", SHAPES[::4] + ONE_STEP_SHAPES + LARGE_SHAPES, ids=shape_id)
def test_reference_with_rounded_weights(storage: str, shape: Shape) -> None:
    p = make_problem(shape, np.float32)
    weights = packed(p, storage)
    kernel, recurrent_kernel = weights.unpack()
    result = ops.lstm_forward(p.x, weights, p.h0, p.c0)
    expected = testing.lstm_forward_reference(p.x, kernel, recurrent_kernel, p.bias, p.h0, p.c0)
    slack = 0.0
    if storage == "int8":
        slack = activation_rounding(p, kernel, recurrent_kernel, np.append(expected.c, p.c0))
    for name in ("y", "h", "c"):
        want = getattr(expected, name)
        testing.assert_close(
            getattr(result, name),
            want,
            dtype=np.float32,
            terms=p.terms,
            steps=shape[1],
            scale=np.abs(want).max(initial=0)
            + slack / testing.tolerance(np.float32, p.terms, steps=shape[1]),
            name=name,
        )
    assert f", {storage} weights" in ops.last_kernel()


def test_int8_sums_are_exact() -> None:
    """Inputs of whole 16-bit steps, weights of whole 8-bit ones, sums longer than a block of 512."""
    rng = np.random.default_rng(5)
    inputs, units = 1301, 21
    steps = rng.integers(-32767, 32768, (1, 1, inputs))
    steps[0, 0, 0] = 32767
    whole = rng.integers(-127, 128, (inputs, 4 * units))
    whole[1] = 127
    sums = (steps[0, 0] @ whole).astype(np.float64)
    # Powers of two, so that scales are exact: z = sum / 2^27.
    x = (steps / 2**15).astype(np.float32)
    kernel = (whole / 2**12).astype(np.float32)
    zeros = np.zeros((units, 4 * units), np.float32)
    result = ops.lstm_forward(x, ops.LSTMWeights(kernel, zeros, storage="int8"))
    expected, _, _ = testing.cell_forward_reference((sums / 2**27)[None], np.zeros((1, units)))
    # The sum itself has no rounding error to speak of, however long it is.
    testing.assert_close(result.h, expected, dtype=np.float32, terms=4, name="h")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_int8_rows_without_a_scale_are_nan(value: float) -> None:
    p = make_problem((3, 2, 9, 17), np.float32)
    exact = ops.lstm_forward(p.x, packed(p, "int8")).y
    p.x[1, 1, 4] = value
    y = ops.lstm_forward(p.x, packed(p, "int8")).y
    assert y is not None
    assert exact is not None
    assert np.isnan(y[1, 1]).all()
    y[1, 1] = exact[1, 1]
    assert_same_bits(y, exact)


@pytest.mark.parametrize("shape", SHAPES[::7], ids=shape_id)
def test_rounding(shape: Shape) -> None:
    p = make_problem(shape, np.float32)
    for rounded, array in zip(packed(p, "bfloat16").unpack(), p.weights, strict=False):
        np.testing.assert_array_equal(rounded, bfloat16(array))
    for rounded, array in zip(packed(p, "int8").unpack(), p.weights, strict=False):
        if not array.size:
            continue
        # Half a step of the column, and the rounding of the products that lead there and back.
        step = np.abs(array).max(axis=0) / 127
        assert (np.abs(rounded - array) <= step * (0.5 + 1e-4)).all()
    for kept, array in zip(ops.LSTMWeights(*p.weights).unpack(), p.weights, strict=False):
        assert_same_bits(kept, array)


@pytest.mark.parametrize(("storage", "bound"), [("bfloat16", 2**-7), ("int8", 2**-5)])
def test_stated_loss(storage: str, bound: float) -> None:
    """The figures of docs/performance.md for a trained-sized layer: the largest error of y over 100 steps."""
    p = make_problem((4, 100, 128, 128), np.float32)
    exact = ops.lstm_forward(p.x, p.weights).y
    rounded = ops.lstm_forward(p.x, packed(p, storage)).y
    assert exact is not None
    assert rounded is not None
    error = float(np.abs(rounded - exact).max())
    assert 0 < error <= bound


@pytest.mark.parametrize("storage", STORAGES)
def test_bits(storage: str) -> None:
    """The same for any number of threads, alone or in a batch, in steps or at once, updated or new."""
    p = make_problem((5, 6, 70, 257), np.float32)
    weights = ops.LSTMWeights(np.zeros_like(p.kernel), p.recurrent_kernel, p.bias, storage=storage)
    weights.update(*p.weights)
    ops.set_num_threads(1)
    expected = ops.lstm_forward(p.x, weights, p.h0, p.c0).y
    assert expected is not None
    for threads in (2, 3):
        ops.set_num_threads(threads)
        y = ops.lstm_forward(p.x, packed(p, storage), p.h0, p.c0).y
        assert y is not None
        assert_same_bits(y, expected)
    h, c = p.h0[2:3], p.c0[2:3]
    for t in range(6):
        h, c = ops.lstm_step(p.x[2:3, t], h, c, weights)
        assert_same_bits(h, expected[2:3, t])


@pytest.mark.parametrize("how", ["storage", "compute"])
def test_columns_too_small_for_a_factor(how: str) -> None:
    """Columns whose largest weight has no inverse in float32 count as zeros, beside others that do not."""
    p = make_problem((2, 3, 4, 9), np.float32)
    kernel = p.kernel.copy()
    kernel[:, ::2] *= np.float32(1e-38)
    weights = ops.LSTMWeights(kernel, p.recurrent_kernel, p.bias, **{how: "int8"})
    kept, _ = weights.unpack()
    assert not kept[:, ::2].any()
    assert_same_bits(kept[:, 1::2], packed(p, "int8").unpack()[0][:, 1::2])
    kernel[:, ::2] = 0
    expected = ops.lstm_forward(p.x, ops.LSTMWeights(kernel, p.recurrent_kernel, p.bias, **{how: "int8"})).y
    assert_same_bits(ops.lstm_forward(p.x, weights).y, expected)


def test_zero_columns() -> None:
    p = make_problem((2, 3, 4, 9), np.float32)
    kernel, recurrent_kernel = ops.LSTMWeights(0 * p.kernel, 0 * p.recurrent_kernel, storage="int8").unpack()
    assert not kernel.any()
    assert not recurrent_kernel.any()


def test_bfloat16_keeps_nan_and_infinity() -> None:
    p = make_problem((2, 3, 4, 9), np.float32)
    # A NaN whose set bits are all in the lower half.
    p.kernel[0, 0] = np.array([0x7F800001], np.uint32).view(np.float32)[0]
    p.kernel[1, 1] = np.inf
    p.kernel[2, 2] = np.finfo(np.float32).max
    kernel, _ = packed(p, "bfloat16").unpack()
    assert np.isnan(kernel[0, 0])
    assert kernel[1, 1] == np.inf
    assert kernel[2, 2] == np.inf


def test_errors() -> None:
    p = make_problem((2, 3, 4, 9), np.float32)
    wrong: list[tuple[Any, type[Exception], str]] = [
        ("int4", ValueError, r"^storage: expected None, 'bfloat16' or 'int8', got 'int4'"),
        (8, TypeError, r"^storage: expected None, 'bfloat16' or 'int8', got int"),
    ]
    for storage, error, text in wrong:
        with pytest.raises(error, match=text):
            ops.LSTMWeights(*p.weights, storage=storage)
    double = make_problem((2, 3, 4, 9), np.float64)
    with pytest.raises(ValueError, match=r"^storage: expected None for float64 weights, got 'int8'"):
        ops.LSTMWeights(*double.weights, storage="int8")
    with pytest.raises(
        ValueError, match=r"^weights: expected full storage, or compute='bfloat16', for training, got int8"
    ):
        ops.lstm_forward(p.x, packed(p, "int8"), training=True)
    p.kernel[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"^kernel: expected finite numbers, to be kept as int8, got NaN"):
        packed(p, "int8")
