"""KeyboardInterrupt at every line of a step or a pass: the states of all layers are old, or all are new."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fusedlstm import Input, Sequential, layers
from fusedlstm.base import held
from fusedlstm.layers.stateful import stateful_layers

from .interrupting import PACKAGE, each

if TYPE_CHECKING:
    from collections.abc import Callable

# Those of a pass. Elsewhere there are generators, and an interrupt while Python clears one away is lost.
FILES = {held.__file__, *(path for path in PACKAGE if "layers" in Path(path).parts)}

B, T, I = 2, 3, 4  # noqa: E741
X = np.random.default_rng(0).uniform(-1, 1, (B, T, I)).astype(np.float32)
Y = np.ones((B, T, 1), np.float32)


def same(got: list[Any], expected: list[Any]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))


def two_layers(masked: bool) -> Sequential:
    masking = [layers.Masking(0.0)] if masked else []
    return Sequential([Input((T, I)), *masking, layers.LSTM(3, return_sequences=True), layers.LSTM(2)])


def step(stream: Any) -> None:
    x = X[:, 1].copy()
    x[1] = 0  # a masked one, where there is a mask
    stream.step(x)


def assign(stream: Any) -> None:
    states: Any = [(0 * h - 1, 0 * c - 1) for h, c in stream.states]
    stream.states = states


STREAM: dict[str, Callable[[Any], Any]] = {
    "step": step,
    "reset": lambda stream: stream.reset(),
    "states": assign,
}


def arrays(stream: Any) -> list[Any]:
    return [array for pair in stream.states for array in pair]


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
@pytest.mark.parametrize("call", STREAM.values(), ids=STREAM)
def test_streams(call: Callable[[Any], Any], masked: bool) -> None:
    stream = two_layers(masked).stream(B)
    stream.step(X[:, 0])
    before: Any = stream.states
    old = arrays(stream)
    call(stream)
    new = arrays(stream)
    assert not any(np.array_equal(a, b) for a, b in zip(old, new, strict=True))
    after = copy.deepcopy(stream).step(X[:, 2])
    stream.states = before
    for _ in each(lambda: call(stream), PACKAGE):
        got = arrays(stream)
        assert same(got, old) or same(got, new)
        stream.states = before
    # What a step that was interrupted has left behind is seen by no later one.
    stream.states = before
    call(stream)
    np.testing.assert_array_equal(stream.step(X[:, 2]), after)


def test_a_step_that_fails_changes_nothing() -> None:
    """Errors of a later layer leave the states of the ones before it, and the last output, alone."""

    class Failing(layers.Activation):
        fails = False

        def forward(self, x: Any, training: bool = False) -> Any:
            if self.fails:
                raise MemoryError
            return super().forward(x, training)

    failing = Failing("linear")
    lstms = layers.LSTM(3, return_sequences=True), layers.LSTM(2)
    stream = Sequential([Input((T, I)), lstms[0], failing, lstms[1]]).stream(B)
    output = stream.step(X[:, 0])
    kept, old = output.copy(), arrays(stream)
    failing.fails = True
    with pytest.raises(MemoryError):
        stream.step(X[:, 1])
    assert same(arrays(stream), old)
    np.testing.assert_array_equal(output, kept)


def lstm(**kwargs: Any) -> layers.LSTM:
    return layers.LSTM(3, stateful=True, return_sequences=True, **kwargs)


def made(name: str) -> Any:
    """Return a model or layer with several stateful layers."""
    if name == "model":
        model = Sequential([Input((T, I)), lstm(), layers.Bidirectional(lstm()), layers.Dense(1)])
        model.compile("sgd", "mse")
        return model
    if name == "stack":
        return layers.StackedLSTM(3, 2, stateful=True)
    if name == "stack of both directions":
        return layers.StackedLSTM(3, 2, bidirectional=True, stateful=True)
    return layers.Bidirectional(lstm())


PASSES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "call": ("model", lambda model: model(X)),
    "call in training": ("model", lambda model: model(X, training=True)),
    "predict": ("model", lambda model: model.predict(X, verbose=0)),
    "test_on_batch": ("model", lambda model: model.test_on_batch(X, Y)),
    "train_on_batch": ("model", lambda model: model.train_on_batch(X, Y)),
    "bidirectional": ("bidirectional", lambda layer: layer(X)),
    "bidirectional, reset": ("bidirectional", lambda layer: layer.reset_state()),
    "stack": ("stack", lambda layer: layer(X)),
    "stack, reset": ("stack", lambda layer: layer.reset_state()),
    "stack of both directions": ("stack of both directions", lambda layer: layer(X)),
}


@pytest.mark.parametrize(("name", "call"), PASSES.values(), ids=PASSES)
def test_passes(name: str, call: Callable[[Any], Any]) -> None:
    thing = made(name)
    thing(X)
    parts = list(stateful_layers([thing] if name != "model" else thing.layers))
    assert len(parts) == {"bidirectional": 2, "stack": 2}.get(name, 3 if name == "model" else 4)
    before = [part.states for part in parts]
    weights = thing.get_weights()

    def states() -> list[Any]:
        return [array for part in parts for array in part.states or (0, 0)]

    def put_back() -> None:
        for part, pair in zip(parts, before, strict=True):
            part.states = pair
        thing.set_weights(weights)

    old = states()
    call(thing)
    new = states()
    assert not any(np.array_equal(a, b) for a, b in zip(old, new, strict=True))
    put_back()
    for _ in each(lambda: call(thing), FILES):
        got = states()
        assert same(got, old) or same(got, new)
        put_back()


def test_a_pass_that_fails_changes_nothing() -> None:
    first, second = lstm(), lstm()
    model = Sequential([Input((T, I)), first, second])
    model(X)
    old = first.states
    assert old is not None
    second.states = (np.ones((B + 1, 3)), np.ones((B + 1, 3)))
    with pytest.raises(ValueError, match="expected 3 samples like the batch before"):
        model.forward(X)
    assert first.states is not None
    assert same(list(first.states), list(old))
