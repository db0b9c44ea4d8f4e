"""lstm_backward against the float64 reference, and both against finite differences."""

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
    Array,
    Number,
    Problem,
    Shape,
    assert_same_bits,
    make_problem,
    shape_id,
)

DEVICES = True

NAMES = ("dx", "dkernel", "drecurrent_kernel", "dbias", "dh0", "dc0")


def backward(
    p: Problem, weights: Any = None, h0: Array | None = None, c0: Array | None = None, **options: Any
) -> ops.LSTMGradients:
    forward_options = {"go_backwards": options.pop("go_backwards", False)}
    if "return_sequences" in options:
        forward_options["return_sequences"] = options.pop("return_sequences")
    result = ops.lstm_forward(p.x, weights or p.weights, h0, c0, training=True, **forward_options)
    assert result.tape is not None
    return ops.lstm_backward(result.tape, **options)


def check(gradients: ops.LSTMGradients, expected: testing.LSTMReferenceGradients, p: Problem) -> None:
    B, T, _, _ = p.shape
    for name in NAMES:
        actual = getattr(gradients, name)
        if actual is None:
            continue
        want = getattr(expected, name)
        # Sums over all rows and steps have partial sums of about the root of their number.
        summed = name in ("dkernel", "drecurrent_kernel", "dbias")
        least = np.sqrt(max(B * T, 1)) if summed else 1.0
        testing.assert_close(
            actual,
            want,
            dtype=p.dtype,
            terms=p.backward_terms,
            steps=T,
            scale=max(float(np.abs(want).max(initial=0.0)), least),
            name=name,
        )


@pytest.mark.parametrize("shape", SHAPES + LARGE_SHAPES + ONE_STEP_SHAPES, ids=shape_id)
def test_shapes(shape: Shape, dtype: Number) -> None:
    p = make_problem(shape, dtype)
    gradients = backward(p, None, p.h0, p.c0, dy=p.dy, dh=p.dh, dc=p.dc)
    expected = testing.lstm_backward_reference(p.x, *p.weights, p.h0, p.c0, p.dy, p.dh, p.dc)
    for name in NAMES:
        assert getattr(gradients, name) is not None, name
    check(gradients, expected, p)


@pytest.mark.parametrize("shape", [(5, 4, 9, 17), (1, 3, 33, 40)], ids=shape_id)
@pytest.mark.parametrize(
    ("with_dy", "with_dh", "with_dc", "go_backwards"), list(itertools.product([False, True], repeat=4))
)
def test_options(
    shape: Shape, dtype: Number, with_dy: bool, with_dh: bool, with_dc: bool, go_backwards: bool
) -> None:
    p = make_problem(shape, dtype)
    upstream = {
        "dy": p.dy if with_dy else None,
        "dh": p.dh if with_dh else None,
        "dc": p.dc if with_dc else None,
    }
    for use_bias, need_dx, with_states in itertools.product([False, True], repeat=3):
        weights = p.weights if use_bias else p.weights[:2]
        bias = p.bias if use_bias else None
        h0, c0 = (p.h0, p.c0) if with_states else (None, None)
        gradients = backward(p, weights, h0, c0, need_dx=need_dx, go_backwards=go_backwards, **upstream)
        assert (gradients.dx is None) == (not need_dx)
        assert (gradients.dbias is None) == (not use_bias)
        expected = testing.lstm_backward_reference(
            p.x, p.kernel, p.recurrent_kernel, bias, h0, c0, **upstream, go_backwards=go_backwards
        )
        check(gradients, expected, p)


@pytest.mark.parametrize("states", [(True, False), (False, True)])
def test_one_initial_state(dtype: Number, states: tuple[bool, bool]) -> None:
    p = make_problem((4, 3, 5, 9), dtype)
    h0, c0 = (state if given else None for state, given in zip((p.h0, p.c0), states, strict=True))
    gradients = backward(p, None, h0, c0, dy=p.dy)
    check(gradients, testing.lstm_backward_reference(p.x, *p.weights, h0, c0, p.dy), p)


def test_last_state_only(dtype: Number) -> None:
    """A forward pass without y still has a tape for gradients of the last states."""
    p = make_problem((4, 3, 5, 9), dtype)
    without_y = backward(p, dh=p.dh, dc=p.dc, return_sequences=False)
    with_y = backward(p, dh=p.dh, dc=p.dc)
    check(without_y, testing.lstm_backward_reference(p.x, *p.weights, dh=p.dh, dc=p.dc), p)
    for name in NAMES:
        assert_same_bits(getattr(without_y, name), getattr(with_y, name), name)


def test_none_equals_zeros(dtype: Number) -> None:
    p = make_problem((4, 3, 5, 9), dtype)
    without = backward(p, dy=p.dy)
    zeros = np.zeros_like(p.dh)
    given = backward(p, None, zeros, zeros, dy=p.dy, dh=zeros, dc=zeros)
    for name in NAMES:
        # Adding a zero may turn a minus zero into a plus zero and nothing else.
        np.testing.assert_array_equal(getattr(without, name), getattr(given, name), name)


def test_dx_does_not_change_the_rest(dtype: Number) -> None:
    p = make_problem((20, 3, 9, 17), dtype)
    upstream = {"dy": p.dy, "dh": p.dh, "dc": p.dc}
    with_dx, without_dx = backward(p, **upstream), backward(p, **upstream, need_dx=False)
    for name in NAMES[1:]:
        assert_same_bits(getattr(without_dx, name), getattr(with_dx, name), name)


@pytest.mark.parametrize("shape", EMPTY_SHAPES, ids=shape_id)
def test_no_rows_or_no_steps(shape: Shape, dtype: Number) -> None:
    p = make_problem(shape, dtype)
    gradients = backward(p, None, p.h0, p.c0, dy=p.dy, dh=p.dh, dc=p.dc)
    assert gradients.dx is not None
    assert gradients.dx.shape == p.x.shape
    for name in ("kernel", "recurrent_kernel", "bias"):
        assert_same_bits(getattr(gradients, "d" + name), np.zeros_like(getattr(p, name)), name)
    assert_same_bits(gradients.dh0, p.dh, "dh0")
    assert_same_bits(gradients.dc0, p.dc, "dc0")
    without = backward(p)
    assert_same_bits(without.dh0, np.zeros_like(p.dh), "dh0")
    assert_same_bits(without.dc0, np.zeros_like(p.dc), "dc0")


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 4, 5, 7), (2, 6, 17, 9)], ids=shape_id)
def test_finite_differences(shape: Shape, go_backwards: bool) -> None:
    p = make_problem(shape, np.float64)
    names = ("x", "kernel", "recurrent_kernel", "bias", "h0", "c0")

    def forward(
        x: Array, kernel: Array, recurrent_kernel: Array, bias: Array, h0: Array, c0: Array
    ) -> tuple[Array, ...]:
        weights = (kernel, recurrent_kernel, bias)
        result = ops.lstm_forward(x, weights, h0, c0, go_backwards=go_backwards)
        assert result.y is not None
        return result.y, result.h, result.c

    def gradient(projections: tuple[Array, ...], **arrays: Any) -> dict[str, Array]:
        x, kernel, recurrent_kernel, bias, h0, c0 = (arrays[name] for name in names)
        result = ops.lstm_forward(
            x, (kernel, recurrent_kernel, bias), h0, c0, training=True, go_backwards=go_backwards
        )
        assert result.tape is not None
        gradients = ops.lstm_backward(result.tape, *projections)
        return {name: getattr(gradients, "d" + name) for name in names}

    testing.check_gradients(
        forward, gradient, {name: getattr(p, name) for name in names}, terms=p.terms, steps=shape[1]
    )
