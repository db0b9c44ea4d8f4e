"""`StackedLSTM`: the bits of separate layers, gradients, states, dropout, masks, streams, files, PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import layers, ops
from fusedlstm.layers.stacked import unstacked
from fusedlstm.testing import check_gradients

from .common import RANDOM, B, H, I, T, X, gradient_check

if TYPE_CHECKING:
    from pathlib import Path

MASK = np.array([[1, 1, 0, 1], [0, 1, 1, 0], [0, 0, 0, 0]], bool)
each_direction = pytest.mark.parametrize("both", [False, True], ids=["one", "both"])


def separate(stack: layers.StackedLSTM) -> list[Any]:
    """Make layers with the weights of a stack."""
    result: list[Any] = []
    for layer in stack.layers:
        result.append(layers.deserialize(layers.serialize(layer)))
        result[-1](np.zeros((1, 1, layer.weights[0].shape[0])))
        result[-1].set_weights(layer.get_weights())
    return result


@pytest.mark.parametrize("mask", [None, MASK], ids=["plain", "mask"])
@pytest.mark.parametrize("sequences", [False, True])
@each_direction
def test_the_bits_of_separate_layers(both: bool, sequences: bool, mask: Any) -> None:
    stack = layers.StackedLSTM((H, 3, 5), bidirectional=both, return_sequences=sequences)
    stack.build((None, T, I))
    parts = separate(stack)
    got, want = stack(X, mask=mask, training=True), X
    for part in parts:
        want = part(want, mask=mask, training=True)
    np.testing.assert_array_equal(got, want)
    assert got.shape == stack.compute_output_shape(X.shape)
    dy = RANDOM.normal(size=got.shape).astype(got.dtype)
    dx, dwant = stack.backward(dy), dy
    for part in reversed(parts):
        dwant = part.backward(dwant)
    np.testing.assert_array_equal(dx, dwant)
    ours = [variable.grad for variable in stack.weights]
    theirs = [variable.grad for part in parts for variable in part.weights]
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


@each_direction
def test_the_bits_of_the_arrays_function(both: bool) -> None:
    stack = layers.StackedLSTM(H, 3, bidirectional=both, return_sequences=True)
    got = stack(X)
    values = [layer.get_weights() for layer in stack.layers]
    weights = [part[k : k + 3] for part in values for k in range(0, len(part), 3)]
    want = ops.lstm_stack_forward(X.astype(np.float32), weights, bidirectional=both)
    np.testing.assert_array_equal(got, want.y)


@pytest.mark.parametrize("mode", ["concat", "mul"])
@each_direction
def test_gradients(both: bool, mode: str) -> None:
    stack = layers.StackedLSTM(
        (3, 4),
        bidirectional=both,
        merge_mode=mode,
        use_peepholes=True,
        dtype="float64",
        return_sequences=True,
    )
    gradient_check(stack, X, I + H, mask=MASK)


@each_direction
def test_states_and_their_gradients(both: bool) -> None:
    stack = layers.StackedLSTM((3, 4), bidirectional=both, return_state=True, dtype="float64")
    stack.build((None, T, I))
    sizes = [3] * (4 if both else 2) + [4] * (4 if both else 2)
    states = {f"s{k}": RANDOM.normal(size=(B, size)) for k, size in enumerate(sizes)}

    def function(x: Any, **given: Any) -> Any:
        return tuple(stack(x, initial_state=list(given.values())))

    def gradient(douts: Any, x: Any, **given: Any) -> Any:
        stack(x, initial_state=list(given.values()), training=True)
        dx = stack.backward(douts[0], dstates=list(douts[1:]))
        assert stack.state_gradients is not None
        return {"x": dx, **dict(zip(given, stack.state_gradients, strict=True))}

    check_gradients(function, gradient, {"x": X, **states}, terms=I + H, steps=2 * T)
    assert len(function(X, **states)) == 1 + len(sizes)


def test_dropout_between() -> None:
    def make(seed: int | None) -> layers.StackedLSTM:
        fusedlstm.utils.set_random_seed(1)
        stack = layers.StackedLSTM(20, 3, between_dropout=0.5, seed=seed, return_sequences=True)
        stack.build((None, T, I))
        return stack

    one, same, other = make(3), make(3), make(4)
    calm = one(X)
    np.testing.assert_array_equal(other(X), calm)
    first = one(X, training=True)
    assert not np.array_equal(first, calm)
    np.testing.assert_array_equal(same(X, training=True), first)
    other.set_weights(one.get_weights())
    assert not np.array_equal(other(X, training=True), first)
    # The gaps have masks of their own.
    gaps = [seeds.state[0] for seeds in one.seed_generators]
    assert len(set(gaps)) == len(gaps) == 5
    # What is dropped passes no gradient, at the same places: finite differences of a fixed mask.
    stack = layers.StackedLSTM((3, 4), between_dropout=0.4, dtype="float64")
    stack.build((None, T, I))
    before = [seeds.state for seeds in stack.seed_generators]

    def restart() -> None:
        for seeds, state in zip(stack.seed_generators, before, strict=True):
            seeds.state = state

    def function(x: Any) -> Any:
        restart()
        return stack.forward(x, training=True)[0]

    def gradient(douts: Any, x: Any) -> Any:
        restart()
        _, saved = stack.forward(x, training=True)
        return {"x": stack.backprop(saved, douts[0], layers.Gradients())}

    check_gradients(function, gradient, {"x": X}, terms=I + H, steps=2 * T)


@each_direction
def test_config(both: bool) -> None:
    stack = layers.StackedLSTM(
        (H, 3), bidirectional=both, between_dropout=0.1, coupled=True, recurrent_dropout=0.2, seed=4, name="s"
    )
    copy = layers.deserialize(layers.serialize(stack))
    assert isinstance(copy, layers.StackedLSTM)
    assert copy.get_config() == stack.get_config()
    stack(X)
    copy(X)
    copy.set_weights(stack.get_weights())
    np.testing.assert_array_equal(copy(X, training=True), stack(X, training=True))
    paths = [variable.path for variable in stack.weights]
    names = ("forward_s_l{}", "backward_s_l{}") if both else ("s_l{}",)
    kinds = ("kernel", "recurrent_kernel", "bias")
    assert paths == [f"{name.format(k)}/{kind}" for k in range(2) for name in names for kind in kinds]


@each_direction
def test_in_a_model(both: bool, tmp_path: Path) -> None:
    """Training improves it, and one that is saved in between goes on to the same weights."""
    pytest.importorskip("safetensors")
    stack = layers.StackedLSTM(8, 2, bidirectional=both, between_dropout=0.2, dropout=0.1)
    model = fusedlstm.Sequential([layers.Input((T, I)), layers.Masking(), stack, layers.Dense(1)])
    model.compile(optimizer="adam", loss="mean_squared_error")
    y = X[:, :, :1].sum(axis=1)
    first = model.fit(X, y, epochs=30, verbose=0).history["loss"]
    assert first[-1] < first[0]
    model.save(tmp_path / "model.safetensors")
    again = fusedlstm.load_model(tmp_path / "model.safetensors")
    for each in (model, again):
        each.fit(X, y, epochs=2, verbose=0)
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_stream() -> None:
    model = fusedlstm.Sequential(
        [layers.Input((None, I)), layers.StackedLSTM((H, 9), return_sequences=True), layers.Dense(2)]
    )
    stream, whole = model.stream(batch=B), model(X)
    for t in range(T):
        np.testing.assert_array_equal(stream.step(X[:, t]), whole[:, t])
    assert [h.shape for h, _ in stream.states] == [(B, H), (B, 9)]
    both = fusedlstm.Sequential([layers.Input((None, I)), layers.StackedLSTM(H, bidirectional=True)])
    with pytest.raises(ValueError, match=r"model: expected layers of LSTM, .* got .*, a Bidirectional"):
        both.stream()


def test_stateful() -> None:
    plain = layers.StackedLSTM(H, return_sequences=True)
    whole = plain(X)
    stack = layers.StackedLSTM(H, return_sequences=True, stateful=True)
    stack.build((None, T, I))
    stack.set_weights(plain.get_weights())
    for _ in range(2):
        halves = [stack(X[:, :2]), stack(X[:, 2:])]
        np.testing.assert_array_equal(np.concatenate(halves, axis=1), whole)
        stack.reset_state()


def test_torch() -> None:
    torch: Any = pytest.importorskip("torch")
    stack = layers.StackedLSTM(H, 3, return_sequences=True, dtype="float64")
    got = stack(X)
    theirs = torch.nn.LSTM(I, H, 3, batch_first=True, dtype=torch.float64)
    theirs.load_state_dict(fusedlstm.to_torch(stack))
    np.testing.assert_allclose(got, theirs(torch.from_numpy(X))[0].detach().numpy(), rtol=0, atol=1e-14)


def test_unstacked() -> None:
    dense = layers.Dense(1)
    stack = layers.StackedLSTM(H, 2)
    assert unstacked([stack, dense]) == [*stack.layers, dense]


def test_keras_has_none(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    model = fusedlstm.Sequential([layers.Input((T, I)), layers.StackedLSTM(H)])
    with pytest.raises(ValueError, match=r"expected layers of the classes .*, got <StackedLSTM"):
        model.save(tmp_path / "model.keras")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"units": 0}, ValueError, "units: expected a positive integer, got 0"),
        ({"units": []}, ValueError, r"units: expected at least one number, got \[\]"),
        (
            {"units": [3, 4], "num_layers": 3},
            ValueError,
            "units: expected 3 numbers, one for each layer, got",
        ),
        ({"units": 3, "num_layers": 0}, ValueError, "num_layers: expected a positive integer, got 0"),
        ({"units": 3, "between_dropout": 1}, ValueError, r"between_dropout: expected a number in \[0, 1\)"),
        (
            {"units": 3, "go_backwards": True},
            ValueError,
            "go_backwards: expected False for a stack, got True",
        ),
        ({"units": 3, "merge_mode": None}, ValueError, "merge_mode: expected one of"),
        ({"units": 3, "droput": 0.5}, TypeError, "droput: unknown argument of LSTM"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        layers.StackedLSTM(**arguments)


def test_bad_states() -> None:
    stack = layers.StackedLSTM(H, 2)
    with pytest.raises(ValueError, match="initial_state: expected a list of 4 arrays, got 2"):
        stack(X, initial_state=[np.zeros((B, H))] * 2)
    stack(X, training=True)
    with pytest.raises(ValueError, match="dstates: expected a list of 4 arrays, got 1"):
        stack.backward(None, dstates=[None])
    with pytest.raises(RuntimeError, match="backward needs a forward"):
        layers.StackedLSTM(H).backward(None)
