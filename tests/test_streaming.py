"""Streams: the same bits as whole sequences, states, what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import layers

B, T, I = 3, 7, 5  # noqa: E741
X = np.random.default_rng(0).normal(size=(B, T, I)).astype("float32")


def make_model(last_sequences: bool = False) -> fusedlstm.Sequential:
    fusedlstm.utils.set_random_seed(1)
    return fusedlstm.Sequential(
        [
            layers.Input((None, I)),
            layers.LSTM(19, return_sequences=True, recurrent_activation="hard_sigmoid"),
            layers.Dropout(0.5),
            layers.Dense(8, activation="relu"),
            layers.LSTM(33, return_sequences=last_sequences),
            layers.Dense(4, activation="softmax"),
        ]
    )


@pytest.mark.parametrize("sequences", [False, True])
def test_the_same_bits(sequences: bool) -> None:
    model = make_model(sequences)
    stream = model.stream(batch=B)
    whole = model(X)
    for t in range(T):
        want = whole[:, t] if sequences else model(X[:, : t + 1])
        np.testing.assert_array_equal(stream.step(X[:, t]), want)
    stream.reset()
    np.testing.assert_array_equal(stream.step(X[:, 0]), whole[:, 0] if sequences else model(X[:, :1]))


def test_states_go_on_elsewhere() -> None:
    model = make_model()
    one, other = model.stream(batch=B), model.stream(batch=B)
    for t in range(3):
        one.step(X[:, t])
    other.states = one.states  # type: ignore[assignment]
    np.testing.assert_array_equal(other.step(X[:, 3]), one.step(X[:, 3]))
    with pytest.raises(ValueError, match=r"states: expected 2 pairs \(h, c\), got 1"):
        one.states = one.states[:1]  # type: ignore[assignment]


@pytest.mark.parametrize("storage", ["bfloat16", "int8"])
def test_storage(storage: str) -> None:
    model = make_model()
    stream, exact = model.stream(batch=B, storage=storage), model.stream(batch=B)
    for t in range(T):
        got, want = stream.step(X[:, t]), exact.step(X[:, t])
    assert 0 < np.abs(got - want).max() < 0.02
    # New weights are rounded anew.
    model.set_weights([0 * weight for weight in model.get_weights()])
    stream.reset()
    np.testing.assert_array_equal(stream.step(X[:, 0]), np.full((B, 4), 0.25, np.float32))


@pytest.mark.parametrize(
    ("stack", "message"),
    [
        ([layers.LSTM(3, go_backwards=True)], "model: expected LSTMs that read forwards, .* reads backwards"),
        (
            [layers.Bidirectional(layers.LSTM(3))],
            "model: expected layers of LSTM, .* got .*, a Bidirectional",
        ),
        ([layers.Flatten()], "model: expected layers of LSTM, .* got flatten.*, a Flatten"),
    ],
)
def test_refused_models(stack: list[Any], message: str) -> None:
    model = fusedlstm.Sequential([layers.Input((T, I)), *stack])
    with pytest.raises(ValueError, match=message):
        model.stream()


def test_errors() -> None:
    model = make_model()
    with pytest.raises(ValueError, match="batch: expected a positive integer, got 0"):
        model.stream(batch=0)
    with pytest.raises(ValueError, match="model: expected a built model"):
        fusedlstm.Sequential([layers.LSTM(3)]).stream()
    stream = model.stream(batch=B)
    first = stream.step(X[:, 0]).copy()
    stream.reset()
    for wrong in (X[:2, 0], X[:, 0, :4], X[0, 0]):
        with pytest.raises(ValueError, match=r"x: expected shape \(3, 5\), got"):
            stream.step(wrong)
    np.testing.assert_array_equal(stream.step(X[:, 0]), first)
