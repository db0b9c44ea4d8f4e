"""Layers that multiply integers of 8 bits."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import config, layers, ops, plots, utils

if TYPE_CHECKING:
    from pathlib import Path

X = np.random.default_rng(0).normal(size=(9, 6, 5)).astype(np.float32)


def model() -> fusedlstm.Sequential:
    utils.set_random_seed(0)
    return fusedlstm.Sequential(
        [
            fusedlstm.Input((6, 5)),
            layers.Bidirectional(layers.LSTM(7, return_sequences=True)),
            layers.StackedLSTM(4, 2, return_sequences=True),
            layers.Dense(3),
        ]
    )


def test_an_lstm_multiplies_bytes() -> None:
    layer = layers.LSTM(7, return_sequences=True)
    exact = layer(X)
    layer.quantize("int8")
    arrays: Any = layer.get_weights()
    y = layer(X)
    assert ", int8 products by " in ops.last_kernel()
    np.testing.assert_array_equal(y, ops.lstm_forward(X, ops.LSTMWeights(*arrays, compute="int8")).y)
    assert 0 < np.abs(y - exact).max() < 0.02
    policy = layer.dtype_policy
    assert (policy.name, policy.compute_dtype, policy.quantization_mode) == (
        "int8_from_float32",
        "float32",
        "int8",
    )
    assert {variable.dtype for variable in layer.weights} == {np.dtype(np.float32)}
    same = layers.LSTM(7, return_sequences=True, dtype="int8_from_float32")
    same.build(X.shape)
    same.set_weights(arrays)
    np.testing.assert_array_equal(same(X), y)


@pytest.mark.parametrize("ending", ["safetensors", "keras"])
def test_a_model_keeps_its_policy(tmp_path: Path, ending: str) -> None:
    made = model()
    made.compile("adam", "mse")
    target = X[..., :3]
    made.fit(X, target, epochs=2, verbose=0)
    exact = made.predict(X, verbose=0)
    made.quantize()
    y = made.predict(X, verbose=0)
    assert 0 < np.abs(y - exact).max() < 0.02
    assert made.evaluate(X, target, verbose=0) > 0
    names = [layer.dtype_policy.name for layer in made.layers]
    assert names == ["int8_from_float32", "int8_from_float32", "float32"]
    twins = [pickle.loads(pickle.dumps(made)), copy.deepcopy(made)]
    if ending == "keras":
        # Keras has no StackedLSTM.
        made = fusedlstm.Sequential([fusedlstm.Input((6, 5)), layers.Bidirectional(layers.LSTM(4))])
        made.quantize()
        y = made.predict(X, verbose=0)
        twins = []
    made.save(tmp_path / f"model.{ending}")
    twins.append(fusedlstm.load_model(tmp_path / f"model.{ending}"))
    for twin in twins:
        np.testing.assert_array_equal(twin.predict(X, verbose=0), y)
        assert twin.layers[0].forward_layer.dtype_policy.name == "int8_from_float32"


def test_weights_may_change_after() -> None:
    layer = layers.LSTM(7, return_sequences=True)
    layer.build(X.shape)
    layer.quantize()
    before = layer(X)
    layer.set_weights([2 * weight for weight in layer.get_weights()])
    assert not np.array_equal(layer(X), before)
    assert "int8 products" in ops.last_kernel()


def test_a_stream_has_the_bits_of_predict() -> None:
    made = fusedlstm.Sequential([fusedlstm.Input((None, 5)), layers.LSTM(7, return_sequences=True)])
    stream = made.stream(len(X))
    made.quantize()
    y = made.predict(X, verbose=0)
    for t in range(X.shape[1]):
        np.testing.assert_array_equal(stream.step(X[:, t]), y[:, t])


def test_nested_models() -> None:
    source = fusedlstm.Input((6, 5))
    inner = fusedlstm.Sequential([fusedlstm.Input((6, 5)), layers.LSTM(5, return_sequences=True)])
    made = fusedlstm.Model(source, layers.LSTM(3)(inner(source)))
    made.quantize()
    assert inner.layers[0].dtype_policy.quantization_mode == "int8"
    assert made.predict(X, verbose=0).shape == (9, 3)


def test_errors() -> None:
    made = model()
    made.compile("adam", "mse")
    made.quantize()
    weights = made.get_weights()
    expected = r"expected a policy that trains, as .*, got int8_from_float32, which is for inference$"
    with pytest.raises(ValueError, match=expected):
        made.fit(X, X[..., :3], verbose=0)
    for before, after in zip(weights, made.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    layer = layers.LSTM(3, return_sequences=True)
    layer(X)
    layer.quantize()
    with pytest.raises(ValueError, match=expected):
        layer.trace(X)
    with pytest.raises(ValueError, match=expected):
        plots.measure_gradients(layer, X)
    with pytest.raises(ValueError, match=r"^mode: expected 'int8', got 'float8'"):
        model().quantize("float8")
    with pytest.raises(NotImplementedError, match=r"expected layers with kernels for int8, as LSTM has"):
        layers.Dense(3).quantize()
    double = fusedlstm.Sequential([fusedlstm.Input((6, 5), dtype="float64"), layers.LSTM(3, dtype="float64")])
    with pytest.raises(ValueError, match=r"expected float32 to be quantized, got float64"):
        double.quantize()
    assert double.layers[0].dtype_policy.name == "float64"
    with pytest.raises(ValueError, match=r"^dtype: expected a policy that Dense has kernels for"):
        layers.Dense(3, dtype=config.DTypePolicy("int8_from_float32"))
