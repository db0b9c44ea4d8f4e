"""Bidirectional: merging, masks, states, gradients, files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import layers
from fusedlstm.testing import assert_close, lstm_forward_reference

from .common import RANDOM, B, H, I, T, X, gradient_check

if TYPE_CHECKING:
    from pathlib import Path

MODES = ("concat", "sum", "mul", "ave")
MASK = np.array([[1, 1, 0, 1], [0, 1, 1, 0], [0, 0, 0, 0]], bool)
ANY: Any = layers


def merged(mode: str | None, one: Any, two: Any) -> Any:
    if mode == "concat":
        return np.concatenate([one, two], axis=-1)
    if mode is None:
        return [one, two]
    return {"sum": one + two, "mul": one * two, "ave": (one + two) / 2}[mode]


def directions(layer: layers.Bidirectional) -> list[Any]:
    """Return what the reference makes of both directions, the second in the order of the input."""
    weights = layer.get_weights()
    one = lstm_forward_reference(X, weights[0], weights[1], weights[2])
    two = lstm_forward_reference(X, weights[3], weights[4], weights[5], go_backwards=True)
    return [one.y, two.y[:, ::-1]] if layer.forward_layer.return_sequences else [one.h, two.h]


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("mode", [*MODES, None])
def test_values(mode: str | None, sequences: bool) -> None:
    layer = layers.Bidirectional(layers.LSTM(H, return_sequences=sequences, dtype="float64"), mode)
    got = layer(X)
    want = merged(mode, *directions(layer))
    for a, b in zip(got if mode is None else [got], want if mode is None else [want], strict=True):
        assert_close(a, b, dtype="float64", terms=I + H, steps=T)
        assert a.shape == layer.compute_output_shape(X.shape)


@pytest.mark.parametrize("mask", [None, MASK], ids=["plain", "mask"])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_gradients(mode: str, sequences: bool, mask: Any) -> None:
    layer = layers.Bidirectional(layers.LSTM(H, return_sequences=sequences, dtype="float64"), mode)
    gradient_check(layer, X, I + H, mask=mask)


def test_states() -> None:
    layer = layers.Bidirectional(layers.LSTM(H, return_state=True, dtype="float64"))
    states = [RANDOM.normal(size=(B, H)) for _ in range(4)]
    output, *last = layer(X, initial_state=states)
    assert len(last) == 4
    np.testing.assert_array_equal(output, np.concatenate([last[0], last[2]], axis=-1))
    alone = layers.LSTM(H, return_state=True, go_backwards=True, dtype="float64")
    alone(X)
    alone.set_weights(layer.get_weights()[3:])
    for got, want in zip(last[2:], alone(X, initial_state=states[2:])[1:], strict=True):
        np.testing.assert_array_equal(got, want)


def test_model(tmp_path: Path) -> None:
    """A model with it trains, and comes back from a file."""
    fusedlstm.utils.set_random_seed(3)
    model = fusedlstm.Sequential(
        [
            layers.Input((T, I)),
            layers.Bidirectional(layers.LSTM(H, return_sequences=True, dropout=0.1)),
            layers.Bidirectional(layers.LSTM(H), merge_mode="ave"),
            layers.Dense(1),
        ]
    )
    model.compile(optimizer=fusedlstm.optimizers.Adam(0.01), loss="mean_squared_error")
    x = RANDOM.normal(size=(64, T, I)).astype("float32")
    y = x[:, 0, :1] + x[:, -1, :1]
    losses = model.fit(x, y, epochs=40, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]
    assert len({weight.path for weight in model.weights}) == len(model.weights) == 14
    model.save(tmp_path / "model.safetensors")
    again = fusedlstm.load_model(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))


def test_a_backward_layer_of_its_own() -> None:
    layer = layers.Bidirectional(
        layers.LSTM(H, name="a"), backward_layer=layers.LSTM(H, activation="relu", name="b")
    )
    layer(X)
    again = layers.Bidirectional.from_config(layer.get_config())
    again(X)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(X), layer(X))
    assert [weight.path for weight in layer.weights][::3] == ["forward_a/kernel", "backward_b/kernel"]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ANY.Bidirectional(layers.Dense(3)), TypeError, "layer: expected an LSTM, got Dense"),
        (
            lambda: ANY.Bidirectional(layers.LSTM(3), "max"),
            ValueError,
            "merge_mode: expected one of 'concat'",
        ),
        (
            lambda: ANY.Bidirectional(layers.LSTM(3), backward_layer=layers.LSTM(4)),
            ValueError,
            "backward_layer: expected units=3 like the layer, got 4",
        ),
        (
            lambda: layers.Bidirectional(layers.LSTM(3))(X, initial_state=[X[:, 0]] * 2),
            ValueError,
            "initial_state: expected 4 arrays, got 2",
        ),
    ],
)
def test_errors(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_backward_needs_forward() -> None:
    layer = layers.Bidirectional(layers.LSTM(H))
    layer(X)
    with pytest.raises(RuntimeError, match="backward needs a forward"):
        layer.backward(np.zeros((B, 2 * H)))
