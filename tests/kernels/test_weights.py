"""LSTMWeights and the tape: versions, copies, and misuse."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from .devices import ops
from .problems import Number, assert_same_bits, make_problem

DEVICES = True

SHAPE = (4, 3, 9, 17)


def test_attributes(dtype: Number) -> None:
    p = make_problem(SHAPE, dtype)
    weights = ops.LSTMWeights(*p.weights)
    assert (weights.inputs, weights.units) == (9, 17)
    assert weights.dtype == np.dtype(dtype)
    assert isinstance(weights.version, int)


def test_update_replaces_the_weights(dtype: Number) -> None:
    p, other = make_problem(SHAPE, dtype), make_problem(SHAPE, dtype, seed=1)
    weights = ops.LSTMWeights(*p.weights)
    versions = [weights.version]
    for use_bias in (True, False, True):
        new = other.weights if use_bias else other.weights[:2]
        weights.update(*new)
        versions.append(weights.version)
        result = ops.lstm_forward(p.x, weights, training=True)
        expected = ops.lstm_forward(p.x, new, training=True)
        assert_same_bits(result.h, expected.h, "h")
        assert result.tape is not None
        assert expected.tape is not None
        gradients = ops.lstm_backward(result.tape, dh=p.dh)
        assert_same_bits(gradients.dh0, ops.lstm_backward(expected.tape, dh=p.dh).dh0, "dh0")
    assert versions == sorted(set(versions)), "every update gives a higher version"


def test_later_changes_of_the_arrays_are_not_seen(dtype: Number) -> None:
    p = make_problem(SHAPE, dtype)
    weights = ops.LSTMWeights(*p.weights)
    before = ops.lstm_forward(p.x, weights, training=True)
    assert before.tape is not None
    expected = ops.lstm_backward(before.tape, dh=p.dh)
    for array in p.weights:
        array.fill(np.nan)
    after = ops.lstm_forward(p.x, weights, training=True)
    assert_same_bits(after.h, before.h, "h")
    assert after.tape is not None
    gradients = ops.lstm_backward(after.tape, dh=p.dh)
    assert_same_bits(gradients.dkernel, expected.dkernel, "dkernel")


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_failed_update_changes_nothing(part: int, dtype: Number) -> None:
    p, other = make_problem(SHAPE, dtype), make_problem(SHAPE, dtype, seed=1)
    weights = ops.LSTMWeights(*p.weights)
    version, before = weights.version, ops.lstm_forward(p.x, weights).h
    wrong = list(other.weights)
    wrong[part] = wrong[part][..., :-4]
    name = ("kernel", "recurrent_kernel", "bias")[part]
    with pytest.raises(ValueError, match=rf"^{name}: expected .*, got "):
        weights.update(*wrong)
    assert weights.version == version
    assert_same_bits(ops.lstm_forward(p.x, weights).h, before, "h")


def test_update_keeps_shapes_and_dtype(dtype: Number) -> None:
    p = make_problem(SHAPE, dtype)
    weights = ops.LSTMWeights(*p.weights)
    bigger = make_problem((4, 3, 9, 18), dtype)
    with pytest.raises(ValueError, match=r"^(kernel|recurrent_kernel): expected .*, got "):
        weights.update(*bigger.weights)
    other = np.float64 if dtype is np.float32 else np.float32
    with pytest.raises(TypeError, match=r"^(kernel|recurrent_kernel): expected .*, got "):
        weights.update(*(array.astype(other) for array in p.weights))


def test_a_tape_is_used_once(dtype: Number) -> None:
    p = make_problem(SHAPE, dtype)
    result = ops.lstm_forward(p.x, p.weights, training=True)
    assert result.tape is not None
    ops.lstm_backward(result.tape, dh=p.dh)
    with pytest.raises(RuntimeError, match="tape"):
        ops.lstm_backward(result.tape, dh=p.dh)


def test_a_failed_backward_does_not_use_the_tape(dtype: Number) -> None:
    p = make_problem(SHAPE, dtype)
    result = ops.lstm_forward(p.x, p.weights, training=True)
    assert result.tape is not None
    with pytest.raises(ValueError, match=r"^dh: expected .*, got "):
        ops.lstm_backward(result.tape, dh=p.dh[:, :-1])
    gradients = ops.lstm_backward(result.tape, dh=p.dh)
    again = ops.lstm_forward(p.x, p.weights, training=True)
    assert again.tape is not None
    assert_same_bits(gradients.dkernel, ops.lstm_backward(again.tape, dh=p.dh).dkernel, "dkernel")


def test_update_between_forward_and_backward(dtype: Number) -> None:
    """The gradients are those at the weights that forward used, not at the new ones."""
    p, other = make_problem(SHAPE, dtype), make_problem(SHAPE, dtype, seed=1)
    weights = ops.LSTMWeights(*p.weights)
    undisturbed = ops.lstm_forward(p.x, weights, p.h0, p.c0, training=True)
    assert undisturbed.tape is not None
    expected = ops.lstm_backward(undisturbed.tape, p.dy, p.dh, p.dc)
    result = ops.lstm_forward(p.x, weights, p.h0, p.c0, training=True)
    assert result.tape is not None
    weights.update(*other.weights)
    gradients = ops.lstm_backward(result.tape, p.dy, p.dh, p.dc)
    for name, value in gradients._asdict().items():
        assert_same_bits(value, getattr(expected, name), name)


def test_a_tape_outlives_its_weights_and_input(dtype: Number) -> None:
    """The tape keeps alive what backward needs, also when it is the only one that still does."""
    p = make_problem(SHAPE, dtype)
    x = p.x.copy()
    result = ops.lstm_forward(x, ops.LSTMWeights(*p.weights), p.h0.copy(), p.c0.copy(), training=True)
    tape = result.tape
    assert tape is not None
    del x, result
    junk = [np.full_like(p.x, np.nan) for _ in range(50)]
    gradients = ops.lstm_backward(tape, dh=p.dh)
    again = ops.lstm_forward(p.x, p.weights, p.h0, p.c0, training=True)
    assert again.tape is not None
    expected = ops.lstm_backward(again.tape, dh=p.dh)
    for name, value in gradients._asdict().items():
        assert_same_bits(value, getattr(expected, name), name)
    assert len(junk) == 50


def test_tapes_are_independent(dtype: Number) -> None:
    """Two forward passes before their backward passes, in either order."""
    first, second = make_problem(SHAPE, dtype), make_problem(SHAPE, dtype, seed=3)
    weights = ops.LSTMWeights(*first.weights)
    results = [ops.lstm_forward(p.x, weights, training=True) for p in (first, second)]
    tapes = [result.tape for result in results if result.tape is not None]
    together = [ops.lstm_backward(tape, dh=first.dh) for tape in reversed(tapes)][::-1]
    for p, gradients in zip((first, second), together, strict=True):
        alone = ops.lstm_forward(p.x, weights, training=True)
        assert alone.tape is not None
        assert_same_bits(gradients.dkernel, ops.lstm_backward(alone.tape, dh=first.dh).dkernel, "dkernel")


@pytest.mark.cpu  # tests/simulated_gpu/test_models.py has those of a device
@pytest.mark.parametrize("projects", [False, True])
@pytest.mark.parametrize("use_bias", [False, True])
def test_copies_and_pickles(projects: bool, use_bias: bool, dtype: Number) -> None:
    p = make_problem(SHAPE, dtype)
    kernel, recurrent_kernel, bias = p.weights
    projection = recurrent_kernel[:, :5].copy() if projects else None
    weights = ops.LSTMWeights(
        kernel, recurrent_kernel[: 5 if projects else 17], bias if use_bias else None, projection=projection
    )
    expected = ops.lstm_forward(p.x, weights).h
    for twin in (copy.copy(weights), copy.deepcopy(weights), pickle.loads(pickle.dumps(weights))):
        assert type(twin) is type(weights)
        assert twin.use_bias is use_bias
        assert_same_bits(ops.lstm_forward(p.x, twin).h, expected, "h")
        if use_bias:
            assert_same_bits(twin.bias, bias, "bias")
        else:
            assert twin.bias is None
        twin.update(2 * kernel, recurrent_kernel[: 5 if projects else 17], projection=projection)
    assert_same_bits(ops.lstm_forward(p.x, weights).h, expected, "h")


def test_tapes_say_why_they_refuse_to_be_copied(dtype: Number) -> None:
    p = make_problem(SHAPE, dtype)
    tape = ops.lstm_forward(p.x, p.weights, training=True).tape
    for act in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(
            TypeError, match="Tape: cannot be copied or pickled: it holds what one forward pass"
        ):
            act(tape)


@pytest.mark.cpu
@pytest.mark.parametrize("exponent", [-30, -3, 0, 6])
@pytest.mark.parametrize("units", [1, 17, 40])
@pytest.mark.parametrize("storage", ["bfloat16", "int8"])
def test_pickles_of_few_bits(storage: str, units: int, exponent: int) -> None:
    """Integers and factors come back exactly, although weights are packed from numbers."""
    random = np.random.default_rng(units)
    scale = np.float32(10.0**exponent)
    kernel, recurrent_kernel = (
        (random.normal(size=(rows, 4 * units)) * scale).astype(np.float32) for rows in (9, units)
    )
    kernel[:, ::3] = 0
    weights = ops.LSTMWeights(kernel, recurrent_kernel, storage=storage)
    twin = pickle.loads(pickle.dumps(weights))
    assert twin.storage == storage
    for ours, theirs in zip(twin.unpack(), weights.unpack(), strict=True):
        assert_same_bits(ours, theirs, "weights")
    for ours, theirs in zip(twin.factors or (), weights.factors or (), strict=True):
        assert_same_bits(ours, theirs, "factors")
    x = random.normal(size=(3, 4, 9)).astype(np.float32)
    assert_same_bits(ops.lstm_forward(x, twin).y, ops.lstm_forward(x, weights).y, "y")
