"""Training: gradients, steps of the reference, weights of samples, seeds, resumed runs."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import fusedlstm
from fusedlstm import layers, losses, metrics, optimizers, utils
from fusedlstm.testing import (
    assert_close,
    check_gradients,
    dense_backward_reference,
    dense_forward_reference,
    lstm_backward_reference,
    lstm_forward_reference,
)

from .common import RANDOM, B, C, H, I, T, X, Y, classifier, compiled, same

# Gradients of whole models.

ONE_HOT = np.eye(C)[Y[:B]]
MODELS: dict[str, tuple[list[Any], Any, Any]] = {
    "softmax, sparse": (
        [layers.LSTM(H), layers.Dense(C, "softmax")],
        "sparse_categorical_crossentropy",
        Y[:B],
    ),
    "softmax layer, one-hot": (
        [
            layers.LSTM(H, return_sequences=True),
            layers.LSTM(H),
            layers.Dense(C),
            layers.Activation("softmax"),
        ],
        losses.CategoricalCrossentropy(label_smoothing=0.1),
        ONE_HOT,
    ),
    "logits": (
        [layers.LSTM(H, go_backwards=True), layers.Dense(C)],
        losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum"),
        Y[:B],
    ),
    "sigmoid, binary": (
        [layers.LSTM(H, return_sequences=True), layers.Flatten(), layers.Dense(1, "sigmoid")],
        "binary_crossentropy",
        Y[:B] % 2,
    ),
    "sigmoid, not fused": ([layers.LSTM(H), layers.Dense(C, "sigmoid")], "mse", ONE_HOT),
    "sequence labels": (
        [layers.LSTM(H, return_sequences=True), layers.Dense(C, "softmax")],
        "sparse_categorical_crossentropy",
        RANDOM.integers(0, C, (B, T)),
    ),
    "regression": (
        [layers.Dense(4, "tanh"), layers.LSTM(H), layers.Dense(2)],
        "mse",
        RANDOM.normal(size=(B, 2)),
    ),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("key", MODELS)
def test_gradients_of_whole_models(key: str, weighted: bool) -> None:
    stack, loss, y = MODELS[key]
    described = [layers.serialize(layer) for layer in stack]
    for item in described:
        item["config"]["dtype"] = "float64"
    model = fusedlstm.Sequential([layers.deserialize(item) for item in described])
    found: list[Any] = []

    class Recorder(optimizers.SGD):
        def update(self, variables: Any, grads: Any, *_: Any) -> None:
            del variables
            found[:] = grads

    model.compile(Recorder(), loss)
    weights = np.linspace(0, 2, B) if weighted else None
    model.build((None, *X.shape[1:]))
    names = [v.path for v in model.weights]

    def function(**values: Any) -> Any:
        model.set_weights([values[name] for name in names])
        return np.array(model.test_on_batch(X[:B], y, weights))

    def gradient(dl: Any, **values: Any) -> Any:
        model.set_weights([values[name] for name in names])
        model.train_on_batch(X[:B], y, weights)
        return {name: dl[0] * grad for name, grad in zip(names, found, strict=True)}

    check_gradients(
        function, gradient, {v.path: v.numpy() for v in model.weights}, terms=B * (I + H), steps=T
    )


# Ten steps against an independent float64 training.


def reference_curve(weights: list[npt.NDArray[Any]], steps: int, rate: float) -> list[float]:
    """Train LSTM, Dense and softmax cross-entropy with Adam in plain float64 NumPy."""
    weights = [w.astype(np.float64) for w in weights]
    first, second = [np.zeros_like(w) for w in weights], [np.zeros_like(w) for w in weights]
    curve = []
    for step in range(1, steps + 1):
        kernel, recurrent, bias, dense_kernel, dense_bias = weights
        h = lstm_forward_reference(X, kernel, recurrent, bias).h
        z = dense_forward_reference(h, dense_kernel, dense_bias)
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        curve.append(float(-np.log(p[np.arange(len(Y)), Y]).mean()))
        dh, dk, db = dense_backward_reference(h, dense_kernel, (p - np.eye(C)[Y]) / len(Y))
        lstm = lstm_backward_reference(X, kernel, recurrent, bias, dh=dh)
        gradients = [lstm.dkernel, lstm.drecurrent_kernel, lstm.dbias, dk, db]
        for w, g, m, v in zip(weights, gradients, first, second, strict=True):
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            w -= rate * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + epsilon_hat(step))
    return curve


def epsilon_hat(step: int) -> float:
    """Keras adds epsilon to the root before the bias correction, which scales it."""
    return float(1e-7 / np.sqrt(1 - 0.999**step))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ten_steps_follow_the_reference(dtype: str) -> None:
    utils.set_random_seed(1)
    model = fusedlstm.Sequential(
        [layers.Input((T, I)), layers.LSTM(H, dtype=dtype), layers.Dense(C, "softmax", dtype=dtype)]
    )
    model.compile(optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    want = reference_curve(model.get_weights(), 10, 0.02)
    x = X.astype(dtype)
    got = [model.train_on_batch(x, Y) for _ in range(10)]
    assert want[-1] < 0.9 * want[0]
    # A loss sums errors of T cell steps per update; 10 updates add to one another. A gradient's error enters
    # Adam's step divided by the gradient's size, here at least 1/50 of the largest.
    assert_close(np.array(got, dtype), want, dtype=dtype, terms=len(Y) * (I + H), steps=50 * 10)


# What fit reports.


def test_reported_loss_is_weighted_by_samples() -> None:
    model = compiled(optimizers.SGD(0.0), dtype="float64")
    history = model.fit(X, Y, batch_size=7, epochs=1, verbose=0, validation_data=(X, Y))
    loss, accuracy = model.evaluate(X, Y, verbose=0)
    z = np.log(model.predict(X, verbose=0))
    by_hand = -z[np.arange(24), Y].mean()
    for value in (loss, history.history["loss"][0], history.history["val_loss"][0]):
        assert value == pytest.approx(by_hand, rel=1e-12)
    assert accuracy == (z.argmax(1) == Y).mean() == history.history["accuracy"][0]


def test_sample_weights() -> None:
    model = compiled(optimizers.SGD(0.0), dtype="float64")
    weights = np.zeros(24)
    weights[3] = 24
    loss, _ = model.evaluate(X, Y, sample_weight=weights, verbose=0)
    assert loss == pytest.approx(model.test_on_batch(X[3:4], Y[3:4])[0], rel=1e-12)
    history = model.fit(X, Y, sample_weight=weights, validation_data=(X, Y, weights), verbose=0)
    assert history.history["loss"][0] == pytest.approx(loss, rel=1e-12)
    assert history.history["val_loss"][0] == pytest.approx(loss, rel=1e-12)


def test_a_saturated_softmax_still_learns() -> None:
    """The fused gradient is p - y, although the probabilities themselves have rounded to 0 and 1."""
    model = fusedlstm.Sequential([layers.Input((1,)), layers.Dense(2, "softmax", use_bias=False)])
    model.compile(optimizers.SGD(1.0), "sparse_categorical_crossentropy")
    model.set_weights([np.array([[200.0, -200.0]])])
    assert model.predict([[1.0]], verbose=0).tolist() == [[1, 0]]
    assert model.train_on_batch([[1.0]], [1]) == 400
    assert model.get_weights()[0].tolist() == [[199, -199]]


def test_validation_split_takes_the_end() -> None:
    model = compiled(optimizers.SGD(0.0), dtype="float64")
    history = model.fit(X, Y, validation_split=0.25, verbose=0)
    assert history.history["val_loss"][0] == pytest.approx(model.evaluate(X[18:], Y[18:], verbose=0)[0])
    assert history.history["loss"][0] == pytest.approx(model.evaluate(X[:18], Y[:18], verbose=0)[0])


def test_metrics_and_results() -> None:
    model = classifier()
    model.compile("sgd", "sparse_categorical_crossentropy")
    assert isinstance(model.evaluate(X, Y, verbose=0), float)
    model.compile(
        "sgd",
        "sparse_categorical_crossentropy",
        metrics=["acc", metrics.MeanMetric(losses.get("sparse_categorical_crossentropy"), "ce")],
    )
    logs = model.evaluate(X, Y, verbose=0, return_dict=True)
    assert list(logs) == model.metrics_names == ["loss", "acc", "ce"]
    assert logs["ce"] == pytest.approx(logs["loss"], rel=1e-5)
    assert model.test_on_batch(X, Y, return_dict=True) == pytest.approx(logs)


def test_predictions_do_not_depend_on_the_batch() -> None:
    model = compiled()
    whole = model.predict(X, batch_size=24, verbose=0)
    assert np.array_equal(whole, model.predict(X, batch_size=5, verbose=0))
    assert np.array_equal(whole, model.predict_on_batch(X))
    assert np.array_equal(whole, model(X))
    assert whole.dtype == np.float32


def test_integer_inputs_are_not_scaled() -> None:
    model = compiled()
    x = RANDOM.integers(0, 5, (24, T, I), dtype=np.uint8)
    assert np.array_equal(model.predict(x, verbose=0), model.predict(x.astype("float32"), verbose=0))
    model.fit(x, Y, verbose=0)


# Repeatability.


def test_seeds_make_training_repeatable_bit_for_bit() -> None:
    runs = [compiled(dropout=0.3, seed=seed) for seed in (4, 4, 5)]
    histories = [model.fit(X, Y, 5, epochs=2, verbose=0).history for model in runs]
    assert histories[0] == histories[1]
    assert same(runs[0].get_weights(), runs[1].get_weights())
    assert not same(runs[0].get_weights(), runs[2].get_weights())


def test_shuffling() -> None:
    seen: list[Any] = []

    class Spy(layers.Layer):
        def forward(self, x: Any, training: bool = False) -> Any:  # noqa: ARG002
            seen.append(x[:, 0])
            return x, None

    x = np.arange(20.0)[:, None]
    utils.set_random_seed(0)
    model = fusedlstm.Sequential([Spy(), layers.Dense(1)])
    model.compile(optimizers.SGD(0.0), "mse")
    model.fit(x, x, 8, epochs=2, verbose=0)
    assert [len(rows) for rows in seen] == [8, 8, 4, 8, 8, 4]
    epochs = np.concatenate(seen[:3]), np.concatenate(seen[3:])
    assert all(np.array_equal(np.sort(epoch), x[:, 0]) for epoch in epochs)
    assert not np.array_equal(*epochs)
    seen.clear()
    model.fit(x, x, 8, verbose=0, shuffle=False)
    assert np.array_equal(np.concatenate(seen), x[:, 0])


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd", "adamw"])
def test_training_resumes_bit_for_bit(optimizer: str) -> None:
    straight = compiled(optimizer, dropout=0.2)
    straight.fit(X, Y, 5, epochs=4, verbose=0)

    first = compiled(optimizer, dropout=0.2)
    first.fit(X, Y, 5, epochs=2, verbose=0)
    second = fusedlstm.Sequential.from_config(json.loads(json.dumps(first.get_config())))
    assert first.optimizer is not None
    resumed = type(first.optimizer).from_config(first.optimizer.get_config())
    resumed.set_state(first.optimizer.get_state(), second.trainable_weights)
    second.compile(resumed, first.loss, metrics=["accuracy"])
    second.set_weights(first.get_weights())
    for ours, theirs in zip(second.seed_generators, first.seed_generators, strict=True):
        ours.state = theirs.state
    second.fit(X, Y, 5, epochs=4, initial_epoch=2, verbose=0)
    assert same(straight.get_weights(), second.get_weights())
