"""Streams of graphs: the same bits as whole sequences, with several inputs, merges, states and outputs."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fusedlstm import Input, Model, Sequential, layers, utils

if TYPE_CHECKING:
    from collections.abc import Callable

B, T, F = 3, 6, 4
RANDOM = np.random.default_rng(0)
WORDS = RANDOM.integers(0, 5, (B, T))
SIGNAL = RANDOM.normal(size=(B, T, F)).astype("float32")
CONTEXT = RANDOM.normal(size=(B, 2)).astype("float32")


def sequences() -> layers.LSTM:
    return layers.LSTM(F, return_sequences=True)


def merged() -> Model:
    """Return a graph of all merges of steps, one LSTM called three times, and masks of one input."""
    words, signal = Input((None,), name="words"), Input((None, F), name="signal")
    shared, dense = sequences(), layers.TimeDistributed(layers.Dense(F, "tanh"))
    one = shared(layers.Embedding(5, F, mask_zero=True)(words))
    two = shared(shared(signal))
    kinds: list[Any] = [layers.add, layers.subtract, layers.multiply, layers.average]
    kinds += [layers.maximum, layers.minimum]
    parts = [kind([one, dense(two)]) for kind in kinds]
    joined = layers.Concatenate(axis=2)([*parts, dense(signal)])
    seen = layers.Masking()(signal)
    extremes = layers.maximum([seen, one, layers.minimum([two, seen])])
    masked = layers.add([one, layers.multiply([one, seen, extremes]), extremes])
    return Model([words, signal], [joined, layers.LSTM(3)(joined), layers.LSTM(3)(masked)])


def stated() -> Model:
    """Return a graph whose outputs are states, in a dict, and an input without steps."""
    signal, context = Input((None, F), name="signal"), Input((2,), name="context")
    y, h, c = layers.LSTM(5, return_sequences=True, return_state=True)(signal)
    top, *states = layers.StackedLSTM([3, 2], return_state=True, return_sequences=True)(y)
    last = layers.concatenate([h, states[3], layers.Dense(3)(context)])
    angle = layers.Dot(axes=1, normalize=True)([h, c])
    outputs = {"steps": top, "last": layers.Dense(2)(last), "angle": angle, "state": states[0]}
    return Model({"signal": signal, "context": context}, outputs)


def with_a_mask() -> Model:
    signal, real = Input((None, F), name="signal"), Input((None,), name="real", dtype="bool")
    y = layers.StackedLSTM([3, 3], return_sequences=True)(signal, mask=real)
    return Model([signal, real], [layers.LSTM(2, zero_output_for_mask=True)(y, mask=real), y])


def nested() -> Model:
    inner = Sequential([Input((None, F)), sequences(), layers.Dropout(0.5), layers.Dense(F)])
    x = Input((None, F))
    middle = Model(x, layers.add([inner(inner(x)), x]))
    return Sequential([Input((None, F)), middle, layers.LSTM(3), layers.Dense(2, "softmax")])


# A model, its inputs, and which of its outputs have steps.
CASES: dict[str, tuple[Callable[[], Model], Any, dict[Any, bool]]] = {
    "merged": (merged, [WORDS, SIGNAL], {0: True, 1: False, 2: False}),
    "stated": (
        stated,
        {"signal": SIGNAL, "context": CONTEXT},
        {"steps": True, "last": False, "angle": False, "state": False},
    ),
    "with a mask": (with_a_mask, [SIGNAL, WORDS > 1], {0: False, 1: True}),
    "nested": (nested, SIGNAL, {None: False}),
}


def parts(x: Any, cut: Any) -> Any:
    """Return inputs of fewer steps, or of one."""
    if isinstance(x, dict):
        return {key: parts(one, cut) for key, one in x.items()}
    if isinstance(x, list):
        return [parts(one, cut) for one in x]
    return x if x is CONTEXT else x[:, cut]


@pytest.mark.parametrize("name", CASES)
def test_the_same_bits(name: str) -> None:
    make, x, outputs = CASES[name]
    utils.set_random_seed(0)
    model = make()
    stream = model.stream(B)
    for t in range(T):
        got = stream.step(parts(x, t))
        if t == 2:  # Copies go on from the states of now.
            stream = pickle.loads(pickle.dumps(copy.copy(copy.deepcopy(stream))))
        whole = model.predict(parts(x, slice(t + 1)), verbose=0)
        for key, steps in outputs.items():
            one, expected = (got, whole) if key is None else (got[key], whole[key])
            np.testing.assert_array_equal(one, expected[:, -1] if steps else expected)


def test_each_call_has_states() -> None:
    stream = merged().stream(B)
    assert len(stream.states) == 5  # one LSTM called three times, and two others
    stream.step([WORDS[:, 0], SIGNAL[:, 0]])
    (h, _), (other, _), *_ = stream.states
    assert (h != other).any()
    other_stream = merged().stream(B)
    with pytest.raises(ValueError, match=r"states: expected 5 pairs \(h, c\), got 4"):
        other_stream.states = stream.states[:4]  # type: ignore[assignment]


def decoder() -> Model:
    x, h, c = Input((T, F)), Input((F,)), Input((F,))
    return Model([x, h, c], layers.LSTM(F, name="decoder")(x, initial_state=[h, c]))


def of(make: Callable[[Any, Any], Any]) -> Model:
    x = Input((T, F), name="x")
    return Model(x, make(x, layers.LSTM(F, return_sequences=True)(x)))


REFUSED: dict[str, tuple[Callable[[], Model], str]] = {
    "initial states": (decoder, "start from zeros in a stream, decoder has an initial state"),
    "backwards": (
        lambda: of(lambda x, y: layers.add([y, layers.LSTM(F, go_backwards=True, name="back")(x)])),
        "LSTMs that read forwards, back reads backwards",
    ),
    "both directions": (
        lambda: of(lambda _, y: layers.Bidirectional(layers.LSTM(2), name="both")(y)),
        "got both, a Bidirectional",
    ),
    "steps and last values": (
        lambda: of(lambda x, y: layers.Add(name="sum")([y, layers.LSTM(F)(x)])),
        "expected sum to merge either sequences or their last values in a stream, got both",
    ),
    "along the steps": (
        lambda: of(lambda x, y: layers.Concatenate(axis=1, name="joined")([x, y])),
        "expected joined to merge sequences step by step in a stream, got",
    ),
    "products of sequences": (
        lambda: of(lambda x, y: layers.Dot(axes=2, name="products")([x, y])),
        "expected products to merge sequences step by step in a stream, got",
    ),
    "always in training": (
        lambda: of(lambda _, y: layers.Dropout(0.5, name="noisy")(y, training=True)),
        "expected no call with training=True in a stream, got noisy",
    ),
    "pooling": (
        lambda: of(lambda _, y: layers.GlobalAveragePooling1D(name="mean")(y)),
        "got mean, a GlobalAveragePooling1D",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_graphs(name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        make().stream()


def test_refused_steps_change_nothing() -> None:
    model = merged()
    stream, other = model.stream(B), model.stream(B)
    for x, message in (
        ([WORDS[:, 0]], r"x: expected a list of 2, for \['words', 'signal'\], got 1"),
        ([WORDS[:, 0], SIGNAL[:, 0, :2]], r"x\['signal'\]: expected shape \(3, 4\), got \(3, 2\)"),
        ([WORDS[:, 0] + 9, SIGNAL[:, 0]], r"x\['words'\]: expected whole numbers in \[0, 5\)"),
        ({"words": WORDS[:, 0]}, r"x: expected the names \['words', 'signal'\], got \['words'\]"),
    ):
        with pytest.raises(ValueError, match=message):
            stream.step(x)
    for got, expected in zip(
        stream.step([WORDS[:, 0], SIGNAL[:, 0]]),
        other.step({"words": WORDS[:, 0], "signal": SIGNAL[:, 0]}),
        strict=True,
    ):
        np.testing.assert_array_equal(got, expected)
