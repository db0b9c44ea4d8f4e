"""Regularizers: values, gradients, and their part in a model's loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import layers, regularizers
from fusedlstm.regularizers import L1, L1L2, L2, OrthogonalRegularizer
from fusedlstm.testing import check_gradients

if TYPE_CHECKING:
    from pathlib import Path

ANY: Any = regularizers  # for arguments that type checkers refuse
RANDOM = np.random.default_rng(0)
W = RANDOM.normal(size=(5, 4))
X, Y = RANDOM.normal(size=(6, 3, 4)), RANDOM.normal(size=(6, 2))


@pytest.mark.parametrize(
    ("regularizer", "value"),
    [
        (L1(0.3), 0.3 * np.abs(W).sum()),
        (L2(0.3), 0.3 * (W**2).sum()),
        (L1L2(0.1, 0.2), 0.1 * np.abs(W).sum() + 0.2 * (W**2).sum()),
        (L1L2(), 0.0),
    ],
)
def test_values(regularizer: Any, value: float) -> None:
    assert regularizer(W) == pytest.approx(value, rel=1e-14)
    assert regularizer(W.astype("float32")) == pytest.approx(value, rel=1e-6)


def test_orthogonal_value() -> None:
    """The mean over pairs of |cos|, by angles."""
    vectors = np.array([[2.0, 0.0], [3.0, 3.0], [0.0, -1.0]])
    cosines = np.cos(np.pi / 4), 0.0, np.cos(np.pi * 3 / 4)
    want = 0.5 * np.abs(cosines).mean()
    assert OrthogonalRegularizer(0.5)(vectors) == pytest.approx(want, rel=1e-14)
    assert OrthogonalRegularizer(0.5, "columns")(vectors.T) == pytest.approx(want, rel=1e-14)
    assert np.isfinite(OrthogonalRegularizer().gradient(np.zeros((2, 3)))).all()


@pytest.mark.parametrize(
    "regularizer",
    [L1(0.3), L2(0.3), L1L2(0.1, 0.2), OrthogonalRegularizer(0.7), OrthogonalRegularizer(0.7, "columns")],
    ids=lambda regularizer: type(regularizer).__name__,
)
def test_gradients(regularizer: Any) -> None:
    check_gradients(
        lambda w: np.array(regularizer(w)),
        lambda d, w: {"w": d[0] * regularizer.gradient(w)},
        {"w": W},
        terms=W.size,
    )
    assert regularizer.gradient(W.astype("float32")).dtype == np.float32


def make_model(**options: Any) -> fusedlstm.Sequential:
    fusedlstm.utils.set_random_seed(1)
    stack = [
        layers.Input((3, 4)),
        layers.LSTM(
            3,
            return_sequences=True,
            dtype="float64",
            # An orthogonal start would sit in the kink of its regularizer.
            recurrent_initializer="random_normal",
            bias_initializer="random_normal",
            kernel_regularizer=L1(0.1),
            recurrent_regularizer=OrthogonalRegularizer(0.2),
            bias_regularizer="l2",
        ),
        layers.Bidirectional(layers.LSTM(2, dtype="float64", kernel_regularizer=L2(0.3))),
        layers.Dense(2, dtype="float64", kernel_regularizer=L1L2(0.1, 0.2), **options),
    ]
    model = fusedlstm.Sequential(stack)
    model.compile(fusedlstm.optimizers.SGD(1.0), "mean_squared_error")
    return model


def penalties(model: fusedlstm.Sequential) -> list[float]:
    """Return what the regularizers of `make_model` say to its weights."""
    weights = model.get_weights()
    return [
        L1(0.1)(weights[0]),
        OrthogonalRegularizer(0.2)(weights[1]),
        L2(0.01)(weights[2]),
        L2(0.3)(weights[3]),
        L2(0.3)(weights[6]),
        L1L2(0.1, 0.2)(weights[9]),
    ]


def test_the_loss_that_is_reported() -> None:
    model = make_model()
    plain = np.square(model(X) - Y).mean()
    want = plain + sum(penalties(model))
    assert model.evaluate(X, Y, batch_size=4, verbose=0) == pytest.approx(want, rel=1e-12)
    assert model.test_on_batch(X, Y) == pytest.approx(want, rel=1e-12)
    assert model.train_on_batch(X, Y) == pytest.approx(want, rel=1e-12)
    model.compile(fusedlstm.optimizers.SGD(0.0), "mean_squared_error")
    want = np.square(model(X) - Y).mean() + sum(penalties(model))
    history = model.fit(X, Y, validation_data=(X, Y), batch_size=4, verbose=0).history
    assert history["loss"] == pytest.approx([want], rel=1e-12)
    assert history["val_loss"] == pytest.approx([want], rel=1e-12)


def test_frozen_weights_have_no_penalty() -> None:
    model = make_model()
    plain, before = np.square(model(X) - Y).mean(), penalties(model)
    model.layers[0].trainable = False
    assert model.test_on_batch(X, Y) == pytest.approx(plain + sum(before[3:]), rel=1e-12)
    model.layers[1].forward_layer.trainable = False  # type: ignore[attr-defined]
    assert model.test_on_batch(X, Y) == pytest.approx(plain + sum(before[4:]), rel=1e-12)
    model.trainable = False
    assert model.test_on_batch(X, Y) == pytest.approx(plain, rel=1e-12)


def check_whole_loss(model: fusedlstm.Sequential, targets: Any) -> None:
    """Check that an SGD step of learning rate 1 moves weights by the gradient of the reported loss."""
    names = [weight.path for weight in model.weights]

    def loss(**weights: Any) -> Any:
        model.set_weights([weights[name] for name in names])
        return np.array(model.test_on_batch(X, targets))

    def gradient(d: Any, **weights: Any) -> Any:
        model.set_weights([weights[name] for name in names])
        model.train_on_batch(X, targets)
        return {v.path: d[0] * (weights[v.path] - v.numpy()) for v in model.weights}

    arrays = {weight.path: weight.numpy() for weight in model.weights}
    check_gradients(loss, gradient, arrays, terms=200, steps=6)


@pytest.mark.parametrize("activation", ["linear", "softmax"])
@pytest.mark.parametrize("regularizer", [None, L1L2(0.1, 0.2)])
def test_gradients_of_the_whole_loss(activation: str, regularizer: Any) -> None:
    model = make_model(activity_regularizer=regularizer, activation=activation)
    if activation == "softmax":
        model.compile(fusedlstm.optimizers.SGD(1.0), "categorical_crossentropy")
    check_whole_loss(model, np.eye(2)[[0, 1, 1, 0, 1, 0]])


def test_activities() -> None:
    """Of the layers' outputs, divided by the batch size; inside of the model and at its end."""
    fusedlstm.utils.set_random_seed(1)
    model = fusedlstm.Sequential(
        [
            layers.Input((3, 4)),
            layers.LSTM(5, return_sequences=True, dtype="float64", activity_regularizer="l2"),
            layers.Activation("tanh", dtype="float64", activity_regularizer=L1(0.3)),
            layers.LSTM(5, dtype="float64"),
            layers.Dense(2, activation="sigmoid", dtype="float64", activity_regularizer=L2(0.2)),
        ]
    )
    model.compile(fusedlstm.optimizers.SGD(1.0), "binary_crossentropy")
    targets = np.eye(2)[[0, 1, 1, 0, 1, 0]]
    first = model.layers[0](X)
    output = model(X)
    plain = fusedlstm.losses.BinaryCrossentropy()(targets, output)
    want = plain + (L2(0.01)(first) + L1(0.3)(np.tanh(first)) + L2(0.2)(output)) / len(X)
    assert model.test_on_batch(X, targets) == pytest.approx(want, rel=1e-12)
    check_whole_loss(model, targets)


def test_configs_and_files(tmp_path: Path) -> None:
    model = make_model(activity_regularizer=L2(0.5))
    model.save(tmp_path / "model.safetensors")
    again = fusedlstm.load_model(tmp_path / "model.safetensors")
    assert again.get_config() == model.get_config()
    assert again.test_on_batch(X, Y) == model.test_on_batch(X, Y)
    config = layers.Dense(2).get_config()
    assert config["kernel_regularizer"] is None
    assert "activity_regularizer" not in config


@pytest.mark.parametrize("name", ["l1", "L1", "l2", "L2", "l1_l2", "L1L2", "orthogonal_regularizer"])
def test_names(name: str) -> None:
    found = regularizers.get(name)
    assert found is not None
    again = regularizers.get(regularizers.serialize(found))
    assert type(again) is type(found)
    assert again.get_config() == found.get_config()
    assert regularizers.get(found) is found
    assert type(regularizers.get(type(found))) is type(found)
    assert regularizers.get(None) is None
    assert regularizers.serialize(None) is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: L1(-1), "l1: expected a number >= 0, got -1"),
        (lambda: L1L2(0, np.inf), "l2: expected a finite number, got inf"),
        (lambda: OrthogonalRegularizer(mode="row"), "mode: expected one of .*'row'"),
        (lambda: OrthogonalRegularizer()(np.ones(3)), "x: expected a matrix of at least two rows"),
        (lambda: regularizers.get("l3"), "identifier: expected one of .*'l3'"),
        (lambda: layers.LSTM(2, kernel_regularizer=lambda w: w), "kernel_regularizer: expected one of"),
        (lambda: layers.LSTM(2, activity_regularizer="l5"), "activity_regularizer: expected one of .*'l5'"),
        (
            lambda: layers.Dense(1, bias_regularizer="orthogonal_regularizer")(X),
            r"bias_regularizer: expected one that fits shape \(1,\): x: expected a matrix",
        ),
        (
            lambda: layers.Bidirectional(layers.LSTM(2, activity_regularizer="l2")),
            "layer: expected no activity_regularizer, got one in lstm",
        ),
    ],
)
def test_errors(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
