"""Weights kept in fewer bits: exact for the rounded weights, which are as close as the format allows."""

from __future__ import annotations

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


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("shape", SHAPES[::4] + ONE_STEP_SHAPES + LARGE_SHAPES, ids=shape_id)
def test_reference_with_rounded_weights(storage: str, shape: Shape) -> None:
    p = make_problem(shape, np.float32)
    weights = packed(p, storage)
    kernel, recurrent_kernel = weights.unpack()
    result = ops.lstm_forward(p.x, weights, p.h0, p.c0)
    expected = testing.lstm_forward_reference(p.x, kernel, recurrent_kernel, p.bias, p.h0, p.c0)
    for name in ("y", "h", "c"):
        testing.assert_close(
            getattr(result, name),
            getattr(expected, name),
            dtype=np.float32,
            terms=p.terms,
            steps=shape[1],
            name=name,
        )
    assert f", {storage} weights" in ops.last_kernel()


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
    """The README's figures for a trained-sized layer: the largest error of y over 100 steps."""
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
    with pytest.raises(ValueError, match=r"^weights: expected full storage for training, got int8"):
        ops.lstm_forward(p.x, packed(p, "int8"), training=True)
    p.kernel[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"^kernel: expected finite numbers, to be kept as int8, got NaN"):
        packed(p, "int8")
