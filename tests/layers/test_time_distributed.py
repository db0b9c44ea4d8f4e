"""TimeDistributed: a layer at each step is the layer on each step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import layers, ops

from .common import RANDOM, B, H, I, T, X, gradient_check

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ANY: Any = layers  # for arguments that type checkers refuse
IMAGES = RANDOM.normal(size=(B, T, 3, I))
MASK = np.array([[True, True, False, True], [False, True, False, False], [True] * 4])

CASES: list[tuple[Callable[[], layers.Layer], Any]] = [
    (lambda: layers.Dense(H, "softmax", dtype="float64"), X),
    (lambda: layers.Dense(H, use_bias=False, dtype="float64"), X),
    (lambda: layers.Activation("tanh", dtype="float64"), X),
    (lambda: layers.RepeatVector(2, dtype="float64"), X),
    (lambda: layers.Flatten(dtype="float64"), IMAGES),
    (lambda: layers.LSTM(H, dtype="float64"), IMAGES),
    (lambda: layers.Bidirectional(layers.LSTM(H, return_sequences=True, dtype="float64")), IMAGES),
    (lambda: layers.TimeDistributed(layers.Dense(H, "relu", dtype="float64")), IMAGES),
]


@pytest.mark.parametrize(("make", "x"), CASES)
def test_values_and_gradients(make: Any, x: Any) -> None:
    layer = layers.TimeDistributed(make())
    y = layer(x)
    assert layer.dtype == "float64"
    assert layer.compute_output_shape(x.shape) == y.shape
    assert layer.compute_output_shape((None, None, *x.shape[2:])) == (None, None, *y.shape[2:])
    for t in range(T):
        np.testing.assert_array_equal(y[:, t], layer.layer(x[:, t]))
    np.testing.assert_array_equal(layer(x, mask=MASK) if not layer.layer.takes_mask else y, y)
    assert layer.compute_mask(x, MASK) is MASK
    gradient_check(layer, x, I + H)


def test_a_dense_inside_is_one_product() -> None:
    layer = layers.TimeDistributed(layers.Dense(H))
    x = X.astype("float32")
    y = layer(x)
    assert "dense_forward" in ops.last_kernel()
    kernel, bias = layer.get_weights()
    np.testing.assert_array_equal(y, ops.dense_forward(x.reshape(B * T, I), kernel, bias).reshape(B, T, H))


def test_the_loss_takes_the_activation_inside_along() -> None:
    """Far from where a probability is not 0, crossentropy is exact and still has a gradient."""
    outputs = []
    for head in (
        layers.TimeDistributed(layers.Dense(3, "softmax", kernel_initializer="ones")),
        layers.Dense(3, "softmax", kernel_initializer="ones"),
    ):
        model = fusedlstm.Sequential([layers.Input((T, I)), head])
        bias = np.array([500, 0, 0], "float32")
        model.set_weights([np.zeros((I, 3)), bias])
        model.compile("sgd", "sparse_categorical_crossentropy")
        loss = model.train_on_batch(X, np.ones((B, T), int))
        outputs.append((loss, model.get_weights()[1]))
    assert outputs[0][0] == pytest.approx(500)
    np.testing.assert_array_equal(outputs[0][1], outputs[1][1])
    assert outputs[0][1][0] < 500


def test_masks_inside_of_steps() -> None:
    model = fusedlstm.Sequential(
        [
            layers.Input((None, None)),
            layers.Embedding(9, I, mask_zero=True),
            layers.TimeDistributed(layers.LSTM(H)),
        ]
    )
    ids = np.array([[[1, 2, 0], [3, 0, 0]], [[4, 5, 6], [7, 0, 8]]])
    y = model(ids)
    lstm = model.layers[1].layer  # type: ignore[attr-defined]
    embedded = model.layers[0](ids)
    np.testing.assert_array_equal(y[0, 1], lstm(embedded[0, 1:, :1])[0])
    np.testing.assert_array_equal(y[1, 1], lstm(embedded[1, 1:, [0, 2]].transpose(1, 0, 2))[0])
    with pytest.raises(ValueError, match=r"mask: expected one of the steps inside of the steps for lstm"):
        layers.TimeDistributed(layers.LSTM(H))(IMAGES, mask=MASK)


def test_embeddings_inside() -> None:
    layer = layers.TimeDistributed(layers.Embedding(5, 3))
    model = fusedlstm.Sequential([layers.Input((4,)), layer])
    ids = [[0, 1, 2, 4]]
    np.testing.assert_array_equal(model(ids), layer.get_weights()[0][ids])
    np.testing.assert_array_equal(layer(ids), model(ids))
    with pytest.raises(ValueError, match=r"x: expected whole numbers in \[0, 5\), got 5 at index \(0, 1\)"):
        model([[0, 5, 0, 0]])


def test_saved_and_loaded(tmp_path: Path) -> None:
    model = fusedlstm.Sequential(
        [layers.Input((T, I)), layers.TimeDistributed(layers.Dense(3, "relu", kernel_regularizer="l2"))]
    )
    model.save(tmp_path / "model.safetensors")
    again = fusedlstm.load_model(tmp_path / "model.safetensors")
    assert again.get_config() == model.get_config()
    np.testing.assert_array_equal(again(X), model(X))


def test_errors() -> None:
    with pytest.raises(TypeError, match="layer: expected a layer, got int"):
        ANY.TimeDistributed(3)
    for layer, message in (
        (layers.LSTM(3, return_state=True), "layer: expected a layer without return_state, got lstm"),
        (layers.LSTM(3, stateful=True), "layer: expected a layer without stateful, got lstm"),
        (layers.Dense(3, activity_regularizer="l2"), "layer: expected a layer without activity_regularizer"),
    ):
        with pytest.raises(ValueError, match=message):
            layers.TimeDistributed(layer)
    with pytest.raises(ValueError, match="dtype: expected float32 like the layer's, got float64"):
        layers.TimeDistributed(layers.Dense(3), dtype="float64")
    with pytest.raises(ValueError, match=r"x: expected at least 3 axes .* got shape \(3, 5\)"):
        layers.TimeDistributed(layers.Dense(3))(X[:, 0])
    with pytest.raises(RuntimeError, match=r"time_distributed.*: backward needs a forward"):
        layers.TimeDistributed(layers.Dense(3)).backward(X)
    model = fusedlstm.Sequential([layers.Input((T, 3, I)), layers.TimeDistributed(layers.LSTM(2))])
    with pytest.raises(ValueError, match=r"model: expected layers of LSTM, .* got time_distributed"):
        model.stream()
