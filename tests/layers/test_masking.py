"""Masking, and masks on their way through a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import layers
from fusedlstm.testing import check_gradients

from .common import RANDOM, H, I, T

if TYPE_CHECKING:
    from pathlib import Path

LENGTHS = (4, 2, 0, 3)


def padded(value: float = 0.0) -> Any:
    """Make sequences of several lengths, padded on the right."""
    x = RANDOM.normal(size=(len(LENGTHS), T, I))
    for row, length in zip(x, LENGTHS, strict=True):
        row[length:] = value
    return x


def make_model(*stack: layers.Layer, value: float = 0.0) -> fusedlstm.Sequential:
    return fusedlstm.Sequential([layers.Input((None, I)), layers.Masking(value, dtype="float64"), *stack])


def test_values_and_mask() -> None:
    layer = layers.Masking(-1.0, dtype="float64")
    x = padded(-1.0)
    y = layer(x)
    mask = layer.compute_mask(x, None)
    assert mask is not None
    np.testing.assert_array_equal(mask, np.arange(T) < np.array(LENGTHS)[:, None])
    np.testing.assert_array_equal(y, np.where(mask[..., None], x, 0))
    layer(x, training=True)
    np.testing.assert_array_equal(layer.backward(np.ones_like(x)), mask[..., None] * np.ones(I))


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_rows_as_if_alone(value: float) -> None:
    """Through two LSTMs and what lies between them, each row gives what its real steps give alone."""
    fusedlstm.utils.set_random_seed(2)
    stack = [
        layers.LSTM(H, return_sequences=True, dtype="float64"),
        layers.Dropout(0.3, dtype="float64"),
        layers.Dense(3, activation="tanh", dtype="float64"),
        layers.Bidirectional(layers.LSTM(H, dtype="float64")),
        layers.Dense(2, dtype="float64"),
    ]
    model = make_model(*stack, value=value)
    x = padded(value)
    got = model.predict(x, verbose=0)
    for row, length, output in zip(x, LENGTHS, got, strict=True):
        alone = fusedlstm.Sequential([layers.Input((None, I)), *stack])
        if length:
            np.testing.assert_array_equal(alone(row[None, :length])[0], output)


def test_gradients() -> None:
    """Through a masked model, by finite differences of its input and weights."""
    model = make_model(
        layers.LSTM(H, return_sequences=True, dtype="float64"),
        layers.LSTM(H, dtype="float64"),
        layers.Dense(2, dtype="float64"),
    )
    x = padded()
    real = np.arange(T) < np.array(LENGTHS)[:, None]
    names = [weight.path for weight in model.weights]

    def set_all(weights: dict[str, Any]) -> None:
        model.set_weights([weights[name] for name in names])

    def function(x: Any, **weights: Any) -> Any:
        set_all(weights)
        return model.forward(np.where(real[..., None], x, 0))[0]

    def gradient(dy: Any, x: Any, **weights: Any) -> Any:
        set_all(weights)
        _, saved = model.forward(np.where(real[..., None], x, 0), training=True)
        gradients = layers.Gradients()
        dx = model.backprop(saved, dy[0], gradients)
        return {"x": dx, **{weight.path: gradients[weight] for weight in model.weights}}

    arrays = {"x": x, **{weight.path: weight.numpy() for weight in model.weights}}
    check_gradients(function, gradient, arrays, terms=2 * (I + H), steps=2 * T)


def test_flatten_ends_a_mask() -> None:
    model = make_model(layers.Flatten(dtype="float64"))
    assert model.predict(padded(), verbose=0).shape == (len(LENGTHS), T * I)
    assert model.layers[-1].compute_mask(padded(), np.ones((4, T), bool)) is None


def test_saved_and_loaded(tmp_path: Path) -> None:
    model = make_model(layers.LSTM(H, dtype="float64"), value=-2.0)
    model.save(tmp_path / "model.safetensors")
    again = fusedlstm.load_model(tmp_path / "model.safetensors")
    x = padded(-2.0)
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))


def test_steps_of_nan(tmp_path: Path) -> None:
    """They are masked where the value is NaN, though NaN equals nothing; steps with some NaN are not."""
    x = padded(np.nan)
    x[0, 0, 0] = np.nan
    layer = layers.Masking(np.nan, dtype="float64")
    mask = layer.compute_mask(x, None)
    np.testing.assert_array_equal(mask, np.arange(T) < np.array(LENGTHS)[:, None])
    np.testing.assert_array_equal(np.isnan(layer(x)).sum(), 1)

    model = make_model(layers.LSTM(H, dtype="float64"), value=np.nan)
    model.save(tmp_path / "model.safetensors")
    again = fusedlstm.load_model(tmp_path / "model.safetensors")
    x, zeros = padded(np.nan), padded(0.0)
    zeros[np.isfinite(x)] = x[np.isfinite(x)]
    with_zeros = make_model(layers.LSTM(H, dtype="float64"))
    with_zeros.set_weights(model.get_weights())
    expected = with_zeros.predict(zeros, verbose=0)
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)
    np.testing.assert_array_equal(again.predict(x, verbose=0), expected)
    model.compile("sgd", "mse")
    model.fit(x, np.ones((len(x), H)), verbose=0)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_errors() -> None:
    masking: Any = layers.Masking
    with pytest.raises(TypeError, match="mask_value: expected a number, got str"):
        masking("0")
    with pytest.raises(TypeError, match="mask_value: expected a number, got complex"):
        masking(1j)
    with pytest.raises(ValueError, match=r"x: expected 3 axes \(batch, steps, features\)"):
        layers.Masking()(np.ones((3, 4)))


# ---- losses and metrics ----


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
def test_losses_and_metrics_leave_out_masked_steps(reduction: str, weighted: bool) -> None:
    """Both are those of the real steps, one after the other."""
    fusedlstm.utils.set_random_seed(3)
    model = make_model(
        layers.LSTM(H, return_sequences=True, dtype="float64"),
        layers.Dense(3, activation="softmax", dtype="float64"),
    )
    loss = fusedlstm.losses.SparseCategoricalCrossentropy(reduction=reduction)
    model.compile("sgd", loss, metrics=["accuracy"])
    x, y = padded(), RANDOM.integers(0, 3, (len(LENGTHS), T))
    weights = RANDOM.uniform(1, 2, y.shape) if weighted else None
    real = np.arange(T) < np.array(LENGTHS)[:, None]
    got = model.test_on_batch(x, y, weights, return_dict=True)
    steps = model(x)[real]
    want = loss(y[real], steps, None if weights is None else weights[real])
    assert got["loss"] == pytest.approx(want, rel=1e-12)
    assert got["accuracy"] == pytest.approx((steps.argmax(axis=-1) == y[real]).mean(), rel=1e-12)


def test_gradients_of_a_masked_loss() -> None:
    fusedlstm.utils.set_random_seed(3)
    model = make_model(
        layers.LSTM(H, return_sequences=True, dtype="float64"), layers.Dense(3, dtype="float64")
    )
    model.compile(fusedlstm.optimizers.SGD(1.0), "mse")
    x, y = padded(), RANDOM.normal(size=(len(LENGTHS), T, 3))
    names = [weight.path for weight in model.weights]

    def loss(**weights: Any) -> Any:
        model.set_weights([weights[name] for name in names])
        return np.array(model.test_on_batch(x, y))

    def gradient(d: Any, **weights: Any) -> Any:
        model.set_weights([weights[name] for name in names])
        model.train_on_batch(x, y)
        return {v.path: d[0] * (weights[v.path] - v.numpy()) for v in model.weights}

    arrays = {weight.path: weight.numpy() for weight in model.weights}
    check_gradients(loss, gradient, arrays, terms=20 * (I + H), steps=T)


def test_layers_of_another_origin_that_end_the_steps() -> None:
    """They may not know about masks: what is no mask of the output is not used."""

    class Last(layers.Layer):
        def compute_output_shape(self, input_shape: Any) -> Any:
            return (input_shape[0], input_shape[2])

        def forward(self, x: Any, training: bool = False) -> Any:
            del training
            return x[:, -1], None

    model = make_model(Last(dtype="float64"))
    model.compile("sgd", "mse")
    x, y = padded(), np.ones((len(LENGTHS), I))
    assert model.test_on_batch(x, y) == pytest.approx(np.square(model(x) - y).mean())


def test_no_real_step_at_all() -> None:
    model = make_model(layers.LSTM(2, return_sequences=True, dtype="float64"))
    model.compile("sgd", "mse", metrics=["mae"])
    before = model.get_weights()
    assert model.train_on_batch(np.zeros((2, T, I)), np.ones((2, T, 2))) == [0.0, 0.0]
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
