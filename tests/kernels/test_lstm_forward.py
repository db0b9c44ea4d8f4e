"""lstm_forward against the float64 reference."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from fusedlstm import testing

from .devices import ops
from .problems import (
    EMPTY_SHAPES,
    LARGE_SHAPES,
    ONE_STEP_SHAPES,
    SHAPES,
    Number,
    Problem,
    Shape,
    assert_same_bits,
    make_problem,
    shape_id,
)

DEVICES = True


def check(result: ops.LSTMResult, expected: testing.LSTMReference, p: Problem) -> None:
    for name in ("y", "h", "c"):
        actual = getattr(result, name)
        if name == "y" and actual is None:
            continue
        testing.assert_close(
            actual,
            getattr(expected, name),
            dtype=p.dtype,
            terms=p.terms,
            steps=p.shape[1],
            # A cell state smaller than one still comes from terms of size one.
            scale=np.maximum(np.abs(getattr(expected, name)), 1.0),
            name=name,
        )


@pytest.mark.parametrize("shape", SHAPES + LARGE_SHAPES + ONE_STEP_SHAPES, ids=shape_id)
def test_shapes(shape: Shape, dtype: Number) -> None:
    p = make_problem(shape, dtype)
    result = ops.lstm_forward(p.x, p.weights, p.h0, p.c0)
    assert result.tape is None
    check(result, p.reference(h0=p.h0, c0=p.c0), p)


@pytest.mark.parametrize("shape", [(5, 4, 9, 17), (1, 3, 33, 40)], ids=shape_id)
@pytest.mark.parametrize(
    ("training", "return_sequences", "go_backwards", "use_bias"),
    list(itertools.product([False, True], repeat=4)),
)
def test_options(
    shape: Shape, dtype: Number, training: bool, return_sequences: bool, go_backwards: bool, use_bias: bool
) -> None:
    p = make_problem(shape, dtype)
    weights = p.weights if use_bias else p.weights[:2]
    bias = p.bias if use_bias else None
    for h0, c0 in itertools.product([None, p.h0], [None, p.c0]):
        result = ops.lstm_forward(
            p.x,
            weights,
            h0,
            c0,
            training=training,
            return_sequences=return_sequences,
            go_backwards=go_backwards,
        )
        expected = testing.lstm_forward_reference(
            p.x, p.kernel, p.recurrent_kernel, bias, h0, c0, go_backwards
        )
        assert (result.y is None) == (not return_sequences)
        assert (result.tape is None) == (not training)
        check(result, expected, p)


@pytest.mark.parametrize("shape", [(5, 4, 9, 17), (40, 2, 9, 33)], ids=shape_id)
def test_options_do_not_change_the_bits(shape: Shape, dtype: Number) -> None:
    p = make_problem(shape, dtype)
    plain = ops.lstm_forward(p.x, p.weights, p.h0, p.c0)
    training = ops.lstm_forward(p.x, p.weights, p.h0, p.c0, training=True)
    last = ops.lstm_forward(p.x, p.weights, p.h0, p.c0, return_sequences=False)
    packed = ops.lstm_forward(p.x, ops.LSTMWeights(*p.weights), p.h0, p.c0)
    backwards = ops.lstm_forward(p.x[:, ::-1].copy(), p.weights, p.h0, p.c0, go_backwards=True)
    assert plain.y is not None
    for other in (training, last, packed, backwards):
        if other.y is not None:
            assert_same_bits(other.y, plain.y, "y")
        assert_same_bits(other.h, plain.h, "h")
        assert_same_bits(other.c, plain.c, "c")
    assert_same_bits(plain.y[:, -1], plain.h, "h is the last of y")


def test_none_equals_zeros(dtype: Number) -> None:
    p = make_problem((6, 3, 9, 17), dtype)
    zeros = np.zeros_like(p.h0)
    without = ops.lstm_forward(p.x, (p.kernel, p.recurrent_kernel))
    given = ops.lstm_forward(p.x, (p.kernel, p.recurrent_kernel, np.zeros_like(p.bias)), zeros, zeros)
    assert without.y is not None
    assert given.y is not None
    assert_same_bits(without.y, given.y, "y")
    assert_same_bits(without.h, given.h, "h")
    assert_same_bits(without.c, given.c, "c")


@pytest.mark.parametrize("return_sequences", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", EMPTY_SHAPES, ids=shape_id)
def test_no_rows_or_no_steps(shape: Shape, dtype: Number, training: bool, return_sequences: bool) -> None:
    B, T, _, H = shape
    p = make_problem(shape, dtype)
    options: dict[str, Any] = {"training": training, "return_sequences": return_sequences}
    result = ops.lstm_forward(p.x, p.weights, p.h0, p.c0, **options)
    assert result.y is None if not return_sequences else result.y is not None
    if result.y is not None:
        assert result.y.shape == (B, T, H)
    assert_same_bits(result.h, p.h0, "h")
    assert_same_bits(result.c, p.c0, "c")
    without = ops.lstm_forward(p.x, p.weights, **options)
    assert_same_bits(without.h, np.zeros((B, H), dtype), "h")
    assert_same_bits(without.c, np.zeros((B, H), dtype), "c")


def test_results_are_new_arrays(dtype: Number) -> None:
    """Writing to results must not change the caller's states nor a later call's results."""
    for T in (0, 1, 3):
        p = make_problem((3, T, 5, 9), dtype)
        h0, c0 = p.h0.copy(), p.c0.copy()
        first = ops.lstm_forward(p.x, p.weights, p.h0, p.c0)
        kept = first.h.copy()
        first.h.fill(7)
        first.c.fill(7)
        second = ops.lstm_forward(p.x, p.weights, p.h0, p.c0)
        assert_same_bits(p.h0, h0, "h0")
        assert_same_bits(p.c0, c0, "c0")
        assert_same_bits(second.h, kept, "h")


def test_inputs_are_not_changed(dtype: Number) -> None:
    p = make_problem((4, 3, 9, 17), dtype)
    for array in (p.x, *p.weights, p.h0, p.c0, p.dy, p.dh, p.dc):
        array.flags.writeable = False
    result = ops.lstm_forward(p.x, p.weights, p.h0, p.c0, training=True)
    assert result.tape is not None
    ops.lstm_backward(result.tape, p.dy, p.dh, p.dc)
