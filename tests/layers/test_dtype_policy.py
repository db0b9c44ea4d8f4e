"""Layers that multiply bfloat16."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import config, layers, mixed_precision, ops, utils

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

X = np.random.default_rng(0).normal(size=(9, 6, 5)).astype(np.float32)


@pytest.fixture
def mixed() -> Iterator[None]:
    mixed_precision.set_global_policy("mixed_bfloat16")
    yield
    mixed_precision.set_global_policy(None)


def model() -> fusedlstm.Sequential:
    utils.set_random_seed(0)
    return fusedlstm.Sequential(
        [
            fusedlstm.Input((6, 5)),
            layers.Bidirectional(layers.LSTM(7, return_sequences=True)),
            layers.StackedLSTM(4, 2, return_sequences=True),
            layers.TimeDistributed(layers.Dense(3)),
        ]
    )


def test_an_lstm_multiplies_what_the_policy_says() -> None:
    plain = layers.LSTM(7, return_sequences=True)
    mixed = layers.LSTM(7, return_sequences=True, dtype="mixed_bfloat16")
    for layer in (plain, mixed):
        layer.build(X.shape)
    mixed.set_weights(plain.get_weights())
    arrays: Any = plain.get_weights()
    y = mixed(X)
    assert "bfloat16 products" in ops.last_kernel()
    expected = ops.lstm_forward(X, ops.LSTMWeights(*arrays, compute="bfloat16")).y
    np.testing.assert_array_equal(y, expected)
    assert not np.array_equal(y, plain(X))
    assert "bfloat16" not in ops.last_kernel()
    assert (mixed.dtype, mixed.dtype_policy.compute_dtype) == ("float32", "bfloat16")
    assert {variable.dtype for variable in mixed.weights} == {np.dtype(np.float32)}


def test_a_dense_layer_multiplies_what_the_policy_says() -> None:
    plain, mixed = layers.Dense(7), layers.Dense(7, dtype="mixed_bfloat16")
    for layer in (plain, mixed):
        layer.build(X.shape)
    mixed.set_weights(plain.get_weights())
    kernel, bias = plain.get_weights()
    y = mixed(X)
    assert "bfloat16 products" in ops.last_kernel()
    expected = ops.dense_forward(X.reshape(-1, 5), kernel, bias, compute="bfloat16")
    np.testing.assert_array_equal(y.reshape(-1, 7), expected)
    assert not np.array_equal(y, plain(X))
    assert "bfloat16" not in ops.last_kernel()


@pytest.mark.usefixtures("mixed")
def test_a_model_trains_and_keeps_its_policy(tmp_path: Path) -> None:
    made = model()
    made.compile("adam", "mse")
    target = 0.1 * X[..., :3]
    losses = made.fit(X, target, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    y = made.predict(X, verbose=0)
    mixed_precision.set_global_policy(None)
    made.save(tmp_path / "model.safetensors")
    again = fusedlstm.load_model(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again.predict(X, verbose=0), y)
    copy = fusedlstm.models.clone_model(made)
    for other in (again, copy):
        assert {layer.dtype_policy.name for layer in other.layers} == {"mixed_bfloat16"}


@pytest.mark.usefixtures("mixed")
def test_keras_files_keep_the_policy(tmp_path: Path) -> None:
    source = fusedlstm.Input((6, 5))
    y = layers.LSTM(7)(source)
    for made in (
        fusedlstm.Sequential(
            [fusedlstm.Input((6, 5)), layers.Bidirectional(layers.LSTM(7)), layers.Dense(2)]
        ),
        fusedlstm.Model(source, layers.add([y, layers.Dense(7)(y)])),
    ):
        made.save(tmp_path / "model.keras")
        mixed_precision.set_global_policy(None)
        again = fusedlstm.load_model(tmp_path / "model.keras")
        mixed_precision.set_global_policy("mixed_bfloat16")
        assert {layer.dtype_policy.name for layer in again.layers[1:]} == {"mixed_bfloat16"}
        np.testing.assert_array_equal(again.predict(X, verbose=0), made.predict(X, verbose=0))


@pytest.mark.usefixtures("mixed")
def test_a_stream_has_the_bits_of_predict() -> None:
    made = fusedlstm.Sequential([fusedlstm.Input((None, 5)), layers.LSTM(7, return_sequences=True)])
    y = made.predict(X, verbose=0)
    stream = made.stream(len(X))
    for t in range(X.shape[1]):
        np.testing.assert_array_equal(stream.step(X[:, t]), y[:, t])
    assert "bfloat16 products" in ops.last_kernel()


def test_gradients_are_close_to_float32s() -> None:
    results = []
    for name in ("float32", "mixed_bfloat16"):
        mixed_precision.set_global_policy(name)
        made = model()
        made.compile("sgd", "mse")
        made.train_on_batch(X, X[..., :3])
        results.append(made.get_weights())
    mixed_precision.set_global_policy(None)
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(one, two, atol=2e-4)
    assert any(not np.array_equal(one, two) for one, two in zip(*results, strict=True))


def test_policies() -> None:
    assert config.dtype_policy().name == "float32"
    policy = config.DTypePolicy("mixed_bfloat16")
    assert policy == config.DTypePolicy.from_config(policy.get_config())
    assert hash(policy) == hash(config.DTypePolicy("mixed_bfloat16"))
    assert policy != config.DTypePolicy("float32")
    assert repr(policy) == '<DTypePolicy "mixed_bfloat16">'
    assert layers.LSTM(3, dtype=policy).dtype_policy == policy
    assert layers.LSTM.from_config(layers.LSTM(3, dtype=policy).get_config()).dtype_policy == policy
    assert layers.Bidirectional(layers.LSTM(3, dtype=policy)).forward_layer.dtype_policy == policy
    config.set_floatx("float64")
    assert config.dtype_policy().name == "float64"
    config.set_floatx("float32")


def test_errors() -> None:
    names = r"\['float32', 'float64', 'mixed_bfloat16', 'int8_from_float32'\]"
    with pytest.raises(ValueError, match=rf"^dtype: expected one of {names}, got 'mixed_float16'"):
        layers.LSTM(3, dtype="mixed_float16")
    with pytest.raises(ValueError, match=rf"^policy: expected one of {names}, got 'bfloat16'"):
        mixed_precision.set_global_policy("bfloat16")
    with pytest.raises(ValueError, match=rf"^name: expected one of {names}, got 3"):
        config.DTypePolicy(3)  # type: ignore[arg-type]
    inner = layers.Dense(3, dtype="mixed_bfloat16")
    with pytest.raises(ValueError, match=r"^dtype: expected mixed_bfloat16 like the layer's, got float32"):
        layers.TimeDistributed(inner, dtype="float32")
    one, two = layers.LSTM(3, dtype="mixed_bfloat16"), layers.LSTM(3, go_backwards=True)
    with pytest.raises(ValueError, match=r"^backward_layer: expected dtype_policy="):
        layers.Bidirectional(one, backward_layer=two)
