"""Tangents and second derivatives of the plain LSTM: references, finite differences, identities, tapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fusedlstm import ops, testing

from .operations import lstm_backward, lstm_second_backward
from .problems import (
    EMPTY_SHAPES,
    LARGE_SHAPES,
    ONE_STEP_SHAPES,
    SHAPES,
    Array,
    Number,
    Problem,
    Shape,
    assert_all_same_bits,
    assert_same_bits,
    make_problem,
    shape_id,
)

INPUTS = ("x", "kernel", "recurrent_kernel", "bias", "h0", "c0")
SUMMED = ("dkernel", "drecurrent_kernel", "dbias")


def make_direction(p: Problem) -> dict[str, Array]:
    """Make arrays as large as the inputs, along which tangents are as large as results."""
    other = make_problem(p.shape, p.dtype, seed=7)
    return {name: getattr(other, name) for name in INPUTS}


def arguments(p: Problem) -> dict[str, Array]:
    return {name: getattr(p, name) for name in INPUTS}


def first_pass(p: Problem, **options: Any) -> tuple[ops.Tape, ops.LSTMGradients]:
    """Run both passes; the gradients keep their tape."""
    tape = ops.lstm_forward(p.x, p.weights, p.h0, p.c0, training=True, **options).tape
    assert tape is not None
    return tape, ops.lstm_backward(tape, p.dy, p.dh, p.dc, keep=True)


def second_pass(
    first: ops.LSTMGradients, direction: dict[str, Array], **options: Any
) -> ops.LSTMSecondGradients:
    assert first.tape is not None
    named: dict[str, Any] = {f"dd{name}": array for name, array in direction.items()}
    return ops.lstm_second_backward(first.tape, **named, **options)


def check(
    p: Problem,
    direction: dict[str, Array],
    tangents: ops.LSTMTangents,
    second: ops.LSTMSecondGradients,
    **options: Any,
) -> None:
    expected = testing.lstm_second_reference(arguments(p), direction, dy=p.dy, dh=p.dh, dc=p.dc, **options)
    B, T, _, _ = p.shape
    pairs = {
        **{f"tangent {name}": (getattr(tangents, name), getattr(expected.results, name)) for name in "yhc"},
        **{f"dd{name}": (getattr(second, f"dd{name}"), getattr(expected.results, name)) for name in "yhc"},
        **{
            f"d{name}": (getattr(second, f"d{name}"), getattr(expected.gradients, f"d{name}"))
            for name in INPUTS
        },
    }
    for name, (actual, want) in pairs.items():
        # The products of the direction are sums beside those of the inputs, and both passes round.
        testing.assert_close(
            actual,
            want,
            dtype=p.dtype,
            terms=2 * p.backward_terms,
            steps=2 * T,
            scale=max(
                float(np.abs(want).max(initial=0.0)), np.sqrt(max(B * T, 1)) if name in SUMMED else 1.0
            ),
            name=name,
        )


@pytest.mark.parametrize("shape", SHAPES + LARGE_SHAPES + ONE_STEP_SHAPES, ids=shape_id)
def test_shapes(shape: Shape, dtype: Number) -> None:
    p = make_problem(shape, dtype)
    direction = make_direction(p)
    tape, first = first_pass(p)
    check(p, direction, ops.lstm_jvp(tape, **direction), second_pass(first, direction))


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize(
    "names", [*((name,) for name in INPUTS), ("kernel", "h0"), ("x", "recurrent_kernel"), ()]
)
def test_parts_of_a_direction(names: tuple[str, ...], go_backwards: bool, dtype: Number) -> None:
    """What is not given does not move."""
    p = make_problem((5, 4, 9, 17), dtype)
    direction = {name: array for name, array in make_direction(p).items() if name in names}
    tape, first = first_pass(p, go_backwards=go_backwards)
    tangents, second = ops.lstm_jvp(tape, **direction), second_pass(first, direction)
    check(p, direction, tangents, second, go_backwards=go_backwards)
    zeros = {name: np.zeros_like(array) for name, array in arguments(p).items()}
    whole = second_pass(first, {**zeros, **direction})
    for name, value in second._asdict().items():
        np.testing.assert_array_equal(value, getattr(whole, name), name)


@pytest.mark.parametrize("shape", [(4, 3, 5, 9), (1, 4, 33, 40)], ids=shape_id)
def test_without_states_and_bias(shape: Shape, dtype: Number) -> None:
    p = make_problem(shape, dtype)
    names = ("x", "kernel", "recurrent_kernel")
    inputs = {name: getattr(p, name) for name in names}
    direction = {name: array for name, array in make_direction(p).items() if name in names}
    tape = ops.lstm_forward(p.x, p.weights[:2], training=True).tape
    assert tape is not None
    second = second_pass(ops.lstm_backward(tape, p.dy, keep=True), direction)
    assert second.dbias is None
    expected = testing.lstm_second_reference(inputs, direction, dy=p.dy)
    for name in (*(f"d{name}" for name in names), "dh0", "dc0"):
        want = getattr(expected.gradients, name)
        scale = max(float(np.abs(want).max()), np.sqrt(shape[0] * shape[1]))
        testing.assert_close(
            getattr(second, name),
            want,
            dtype=dtype,
            terms=2 * p.backward_terms,
            steps=2 * shape[1],
            scale=scale,
            name=name,
        )


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 4, 5, 7), (2, 6, 17, 9)], ids=shape_id)
def test_finite_differences_of_the_first_gradients(shape: Shape) -> None:
    """No reference at all: the library's own gradients, element by element."""
    p = make_problem(shape, np.float64)
    arrays = {**arguments(p), "dy": p.dy, "dh": p.dh, "dc": p.dc}

    def gradients(keep: bool, **given: Array) -> ops.LSTMGradients:
        weights = given["kernel"], given["recurrent_kernel"], given["bias"]
        tape = ops.lstm_forward(given["x"], weights, given["h0"], given["c0"], training=True).tape
        assert tape is not None
        return ops.lstm_backward(tape, given["dy"], given["dh"], given["dc"], keep=keep)

    def function(**given: Array) -> tuple[Array, ...]:
        found = gradients(keep=False, **given)
        return tuple(getattr(found, f"d{name}") for name in INPUTS)

    def gradient(projections: tuple[Array, ...], **given: Any) -> dict[str, Array]:
        second = second_pass(gradients(keep=True, **given), dict(zip(INPUTS, projections, strict=True)))
        return {
            **{name: getattr(second, f"d{name}") for name in INPUTS},
            **{f"d{name}": getattr(second, f"dd{name}") for name in "yhc"},
        }

    testing.check_gradients(function, gradient, arrays, terms=p.backward_terms, steps=2 * shape[1])


def inner(left: dict[str, Any], right: dict[str, Any]) -> float:
    return sum(float((np.asarray(left[name], np.float64) * right[name]).sum()) for name in left)


@pytest.mark.parametrize("shape", [(9, 5, 17, 33), (64, 10, 40, 70), (1, 30, 20, 65)], ids=shape_id)
def test_identities(shape: Shape, dtype: Number) -> None:
    """The Hessian is symmetric, and tangents are the transpose of gradients."""
    p = make_problem(shape, dtype)
    one, other = make_direction(p), {name: getattr(make_problem(shape, dtype, 8), name) for name in INPUTS}
    tape, first = first_pass(p)
    ours, theirs = (
        {name: getattr(second_pass(first, direction), f"d{name}") for name in INPUTS}
        for direction in (one, other)
    )
    size = sum(float(np.abs(ours[name] * other[name]).sum()) for name in INPUTS)
    allowed = testing.tolerance(dtype, 2 * p.backward_terms, steps=2 * shape[1]) * size
    assert abs(inner(ours, other) - inner(theirs, one)) <= allowed
    tangents = ops.lstm_jvp(tape, **one)
    upstream = {"y": p.dy, "h": p.dh, "c": p.dc}
    gradients = {name: getattr(first, f"d{name}") for name in INPUTS}
    assert abs(inner(tangents._asdict(), upstream) - inner(gradients, one)) <= allowed


@pytest.mark.parametrize("shape", EMPTY_SHAPES, ids=shape_id)
def test_no_rows_or_no_steps(shape: Shape, dtype: Number) -> None:
    p = make_problem(shape, dtype)
    direction = make_direction(p)
    tape, first = first_pass(p)
    tangents, second = ops.lstm_jvp(tape, **direction), second_pass(first, direction)
    for found in ((tangents.h, tangents.c), (second.ddh, second.ddc)):
        assert_same_bits(found[0], direction["h0"], "h")
        assert_same_bits(found[1], direction["c0"], "c")
    for name in INPUTS:
        assert_same_bits(getattr(second, f"d{name}"), np.zeros_like(getattr(p, name)), name)
    assert tangents.y.shape == second.ddy.shape == p.dy.shape


def test_lengths_and_states(dtype: Number) -> None:
    """Each row's real part by itself gives the same numbers, and padding gives zeros."""
    p = make_problem((5, 6, 7, 19), dtype)
    lengths = np.array([6, 2, 0, 4, 1])
    direction = make_direction(p)
    _, first = first_pass(p, lengths=lengths)
    second = second_pass(first, direction)
    assert second.dx is not None
    total = np.zeros_like(p.kernel)
    for b, length in enumerate(lengths):
        row = slice(b, b + 1)
        tape = ops.lstm_forward(p.x[row, :length], p.weights, p.h0[row], p.c0[row], training=True).tape
        assert tape is not None
        own = {**direction, "x": direction["x"][row, :length]}
        own |= {name: direction[name][row] for name in ("h0", "c0")}
        alone = second_pass(ops.lstm_backward(tape, p.dy[row, :length], p.dh[row], p.dc[row], keep=True), own)
        assert alone.dx is not None
        for name in ("ddh", "ddc", "dh0", "dc0"):
            assert_same_bits(getattr(second, name)[row], getattr(alone, name), name)
        for name in ("ddy", "dx"):
            assert_same_bits(getattr(second, name)[row, :length], getattr(alone, name), name)
            assert not getattr(second, name)[b, length:].any()
        total += alone.dkernel
    np.testing.assert_allclose(
        second.dkernel, total, rtol=0, atol=64 * np.finfo(dtype).eps * np.abs(total).max()
    )


# ---- tapes ----


def test_keeping_changes_no_bit(dtype: Number) -> None:
    p = make_problem((20, 5, 9, 17), dtype)
    kept = {name: value for name, value in first_pass(p)[1]._asdict().items() if name != "tape"}
    expected = lstm_backward(p)
    assert_all_same_bits({name: value for name, value in kept.items() if value is not None}, expected, "kept")


def test_a_kept_tape_serves_again(dtype: Number) -> None:
    """Passes over one tape do not disturb each other, in any order; the last plain one uses it up."""
    p = make_problem((9, 5, 7, 17), dtype)
    direction = make_direction(p)
    expected, plain = lstm_second_backward(p), lstm_backward(p)
    tape, first = first_pass(p)
    tangents = ops.lstm_jvp(tape, **direction)
    other = ops.lstm_backward(tape, dh=p.dh, keep=True)
    before = second_pass(first, direction)
    found = ops.lstm_backward(tape, p.dy, p.dh, p.dc)
    assert tape.used
    for name in plain:
        assert_same_bits(getattr(found, name), plain[name], name)
    for name, value in second_pass(first, direction)._asdict().items():
        assert_same_bits(value, getattr(before, name), name)
    for name, value in zip("yhc", tangents, strict=True):
        assert_same_bits(value, getattr(before, f"dd{name}"), name)
    # Another pass's own upstream gradients, and the tangents, which do not depend on them.
    different = second_pass(other, direction)
    assert not np.array_equal(different.dkernel, before.dkernel)
    assert_same_bits(different.ddy, before.ddy, "ddy")
    del tape
    assert_all_same_bits(lstm_second_backward(p), expected, "again")


def test_weights_and_instruction_set_may_change_meanwhile(dtype: Number) -> None:
    """A tape is read by the kernels, and with the weights, of the pass that left it."""
    p = make_problem((5, 4, 7, 17), dtype)
    direction = make_direction(p)
    weights = ops.LSTMWeights(*p.weights)
    tape = ops.lstm_forward(p.x, weights, p.h0, p.c0, training=True).tape
    assert tape is not None
    first = ops.lstm_backward(tape, p.dy, p.dh, p.dc, keep=True)
    expected = second_pass(first, direction)
    mine = ops.get_instruction_set()
    try:
        for name in ops.instruction_sets():
            ops.set_instruction_set(name)
            weights.update(2 * p.kernel, p.recurrent_kernel, p.bias)
            for key, value in second_pass(first, direction)._asdict().items():
                assert_same_bits(value, getattr(expected, key), f"{name}: {key}")
            assert ops.last_kernel().startswith(f"cpu {mine} {np.dtype(dtype).name} lstm_second_backward")
    finally:
        ops.set_instruction_set(mine)


def test_bytes(dtype: Number) -> None:
    p = make_problem((8, 4, 7, 16), dtype)
    _, first = first_pass(p)
    assert first.tape is not None
    assert first.tape.nbytes == 8 * 4 * (4 * 16 + 2 * 16) * np.dtype(dtype).itemsize


def test_dx_does_not_change_the_rest(dtype: Number) -> None:
    p = make_problem((20, 3, 9, 17), dtype)
    direction = make_direction(p)
    first = first_pass(p)[1]
    without, whole = second_pass(first, direction, need_dx=False), second_pass(first, direction)
    assert without.dx is None
    for name, value in without._asdict().items():
        if name != "dx":
            assert_same_bits(value, getattr(whole, name), name)


def test_layouts(dtype: Number) -> None:
    p = make_problem((5, 4, 9, 17), dtype)
    direction = make_direction(p)
    tape, first = first_pass(p)
    expected, tangents = second_pass(first, direction), ops.lstm_jvp(tape, **direction)
    apart = {name: np.repeat(array, 2, axis=0)[::2] for name, array in direction.items() if array.ndim > 1}
    turned = {name: np.asfortranarray(array) for name, array in direction.items()}
    for changed in (apart, turned):
        for name, value in second_pass(first, {**direction, **changed})._asdict().items():
            assert_same_bits(value, getattr(expected, name), name)
        assert_same_bits(ops.lstm_jvp(tape, **{**direction, **changed}).y, tangents.y, "y")


def test_errors() -> None:
    p = make_problem((2, 3, 4, 5), np.float32)
    tape, first = first_pass(p)
    assert first.tape is not None
    checkpoints = ops.lstm_forward(p.x, p.weights, training=True, checkpoint_every=2).tape
    without_bias = ops.lstm_forward(p.x, p.weights[:2], training=True).tape
    assert checkpoints is not None
    assert without_bias is not None
    kept, ones = ops.CellOptions(zoneout_c=0.1), np.ones(20, np.float32)
    normal = ops.CellOptions(layer_norm=ops.LayerNorm(ones, ones, ones[:5], ones[:5]))
    narrow = p.recurrent_kernel[:3], p.bias, p.recurrent_kernel[:, :3]
    others = {
        "checkpoints": checkpoints,
        "a projection": ops.lstm_forward(p.x, (p.kernel, *narrow), training=True).tape,
        "zoneout": ops.lstm_forward(p.x, p.weights, options=kept, training=True).tape,
        "layer normalization": ops.lstm_forward(p.x, p.weights, options=normal, training=True).tape,
    }
    for what, other in others.items():
        assert other is not None
        message = f"^tape: expected one without {what} for second derivatives, got one with {what}$"
        with pytest.raises(ValueError, match=message):
            ops.lstm_backward(other, keep=True)
        with pytest.raises(ValueError, match=message):
            ops.lstm_jvp(other)
        ops.lstm_backward(other)  # which such refusals do not use up
    with pytest.raises(ValueError, match=r"^ddx: expected shape \(B=2, T=3, I=4\), got shape \(2, 3, 5\)"):
        ops.lstm_second_backward(first.tape, p.dy)
    with pytest.raises(ValueError, match=r"^kernel: expected shape \(I=4, 4H=20\), got shape \(5, 20\)"):
        ops.lstm_jvp(tape, kernel=p.recurrent_kernel)
    with pytest.raises(TypeError, match=r"^ddh0: expected .*float32.*, got .*float64"):
        ops.lstm_second_backward(first.tape, ddh0=p.h0.astype(np.float64))
    with pytest.raises(ValueError, match=r"^bias: expected None for weights without a bias, got an array"):
        ops.lstm_jvp(without_bias, bias=p.bias)
    with pytest.raises(ValueError, match=r"^ddpeepholes: expected None for a cell without peepholes, got an"):
        ops.lstm_second_backward(first.tape, ddpeepholes=np.zeros((3, 5), np.float32))
    with pytest.raises(TypeError, match=r"^tape: expected the GradientTape of lstm_backward\(\.\.\., keep="):
        ops.lstm_second_backward(tape)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^tape: expected the Tape of lstm_forward\(\.\.\., training=True\)"):
        ops.lstm_jvp(first.tape)  # type: ignore[arg-type]
    ops.lstm_backward(tape)
    with pytest.raises(RuntimeError, match=r"^tape: expected one that no backward pass has used yet"):
        ops.lstm_jvp(tape)
    with pytest.raises(RuntimeError, match=r"^tape: expected one that no backward pass has used yet"):
        ops.lstm_backward(tape, keep=True)
