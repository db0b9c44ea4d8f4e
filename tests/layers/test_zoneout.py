"""Zoneout and projections in the LSTM layer: values, seeds, gradients, files, streams, other libraries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import layers, ops
from fusedlstm.testing import assert_close, check_gradients, lstm_variant_reference
from fusedlstm.utils import SeedGenerator

from .common import B, H, I, T, X

if TYPE_CHECKING:
    from pathlib import Path

RATES: dict[str, Any] = {"zoneout_h": 0.3, "zoneout_c": 0.5}


def make(**more: Any) -> layers.LSTM:
    return layers.LSTM(H, **{"dtype": "float64", "seed": 3, **RATES, **more})


@pytest.mark.parametrize("projection_units", [None, 4])
@pytest.mark.parametrize("training", [False, True])
def test_values(training: bool, projection_units: int | None) -> None:
    layer = make(projection_units=projection_units, return_sequences=True)
    assert layer.options is not None
    got = layer(X, training=training)
    kernel, recurrent_kernel, bias, *projection = layer.get_weights()
    want = lstm_variant_reference(
        X,
        kernel,
        recurrent_kernel,
        bias,
        np.zeros((B, layer.outputs)),
        np.zeros((B, H)),
        options=ops.CellOptions(**RATES),
        projection=projection[0] if projection else None,
        zoneout_seed=SeedGenerator(3).next() if training else None,
    )
    assert_close(got, want.y, dtype="float64", terms=I + 2 * H, steps=T)


def test_seeds() -> None:
    one, two = make(), make()
    first = one(X, training=True)
    two(X)  # Inference draws nothing.
    two.set_weights(one.get_weights())
    np.testing.assert_array_equal(two(X, training=True), first)
    assert not np.array_equal(one(X, training=True), first)
    np.testing.assert_array_equal(one(X), two(X))
    # A resumed training goes on with the same draws.
    assert one.seed_generators
    assert len(layers.LSTM(H, zoneout_c=0.1).seed_generators) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"zoneout_h": 0.0, "zoneout_c": 0.0, "projection_units": 4},
        {"zoneout_h": 0.0, "zoneout_c": 0.0, "projection_units": 7, "use_bias": False},
        {},
        {"zoneout_c": 0.0, "use_peepholes": True, "return_sequences": True},
        {"projection_units": 4, "recurrent_dropout": 0.3, "dropout": 0.2, "coupled": True},
    ],
)
def test_gradients(options: dict[str, Any]) -> None:
    fusedlstm.utils.set_random_seed(1)
    layer = make(**options)
    layer(X)
    names = [v.path for v in layer.weights]

    def run(x: Any, weights: dict[str, Any]) -> Any:
        layer.set_weights([weights[name] for name in names])
        layer._seeds = SeedGenerator(1)
        return layer.forward(x, training=True)

    def function(x: Any, **weights: Any) -> Any:
        return np.array(run(x, weights)[0])

    def gradient(dy: Any, x: Any, **weights: Any) -> Any:
        gradients = layers.Gradients()
        dx = layer.backprop(run(x, weights)[1], dy[0], gradients)
        return {"x": dx, **{v.path: gradients[v] for v in layer.weights}}

    arrays = {"x": X, **{v.path: v.numpy() for v in layer.weights}}
    check_gradients(function, gradient, arrays, terms=I + 2 * H, steps=T)


def test_bidirectional_and_stacks() -> None:
    """Each direction and layer draws for itself; configurations come back."""
    both = layers.Bidirectional(make(projection_units=4))
    assert both(X, training=True).shape == (B, 8)
    dx = both.backward(np.ones((B, 8)))
    assert dx is not None
    assert dx.shape == X.shape
    stack = layers.StackedLSTM([H, 8], projection_units=4, dtype="float64", seed=1, **RATES)
    assert stack(X, training=True).shape == (B, 4)
    assert stack.backward(np.ones((B, 4))) is not None
    for layer in (both, stack):
        assert layers.deserialize(layers.serialize(layer)).get_config() == layer.get_config()


def test_files_and_streams(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    layer = make(projection_units=4, return_sequences=True)
    model = fusedlstm.Sequential([layers.Input((T, I)), layer, make()])
    model.save(tmp_path / "model.safetensors")
    again = fusedlstm.load_model(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again(X), model(X))
    assert again.layers[0].get_config() == layer.get_config()
    stream = again.stream(batch=B)
    for t in range(T):
        last = np.array(stream.step(X[:, t]))
    np.testing.assert_array_equal(last, model(X))
    assert [(h.shape, c.shape) for h, c in stream.states] == [((B, 4), (B, H)), ((B, H), (B, H))]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"projection_units": 2}, "projection_units: expected None, as Keras has no such option, got 2"),
        ({"zoneout_h": 0.1}, r"zoneout_h: expected 0\.0, as Keras has no such option, got 0\.1"),
        ({"zoneout_c": 0.1}, r"zoneout_c: expected 0\.0, as Keras has no such option, got 0\.1"),
    ],
)
def test_keras_does_not_have_them(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    model = fusedlstm.Sequential([layers.Input((T, I)), layers.LSTM(H, name="a", **options)])
    for save in (model.save, model.save_weights):
        path = tmp_path / ("model.keras" if save == model.save else "model.weights.h5")
        with pytest.raises(ValueError, match=rf"^layer 'a' \(LSTM\): {message}"):
            save(path)
        assert not path.exists()


def test_weights() -> None:
    layer = layers.LSTM(H, projection_units=4, use_peepholes=True)
    layer.build((None, T, I))
    assert [(v.name, v.shape) for v in layer.trainable_weights] == [
        ("kernel", (I, 4 * H)),
        ("recurrent_kernel", (4, 4 * H)),
        ("bias", (4 * H,)),
        ("projection", (H, 4)),
        ("peepholes", (3, H)),
    ]
    assert np.ptp(layer.get_weights()[3]) > 0
    model = fusedlstm.Sequential([layers.Input((T, I)), layer, layers.Dense(1)])
    model.compile(optimizer="adam", loss="mean_squared_error")
    before = layer.get_weights()[3]
    model.fit(X, np.ones((B, 1)), epochs=2, verbose=0)
    assert np.all(layer.get_weights()[3] != before)


def test_initial_states() -> None:
    layer = make(projection_units=4, return_state=True)
    _, h, c = layer(X, initial_state=[np.ones((B, 4)), np.ones((B, H))])
    assert (h.shape, c.shape) == ((B, 4), (B, H))
    with pytest.raises(ValueError, match=r"^initial_state: expected shape \(3, 4\), got \(3, 6\)"):
        layer(X, initial_state=[np.ones((B, H)), np.ones((B, H))])
    stateful = make(projection_units=4, stateful=True)
    first = stateful(X)
    assert not np.array_equal(stateful(X), first)
