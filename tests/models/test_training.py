"""`Sequential`: whole gradients, loss curves, repeatability, resuming, and what it refuses."""

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

B, T, I, H, C = 8, 5, 4, 6, 3  # noqa: E741
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(24, T, I))
Y = RANDOM.integers(0, C, 24)


def classifier(dtype: str = "float32", dropout: float = 0.0, seed: int = 0) -> fusedlstm.Sequential:
    utils.set_random_seed(seed)
    return fusedlstm.Sequential(
        [
            layers.Input((T, I)),
            layers.LSTM(H, return_sequences=True, dtype=dtype),
            layers.Dropout(dropout, dtype=dtype),
            layers.LSTM(H, dropout=dropout, dtype=dtype),
            layers.Dense(C, activation="softmax", dtype=dtype),
        ]
    )


def compiled(optimizer: Any = "adam", **settings: Any) -> fusedlstm.Sequential:
    model = classifier(**settings)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def same(ours: Any, theirs: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


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
    model.compile("sgd", loss)
    weights = np.linspace(0, 2, B) if weighted else None
    # With SGD at a rate of 0 a training step leaves the gradients and changes nothing.
    assert model.optimizer is not None
    model.optimizer.learning_rate = 0.0
    model.train_on_batch(X[:B], y, weights)
    names = [v.path for v in model.weights]

    def function(**values: Any) -> Any:
        model.set_weights([values[name] for name in names])
        return np.array(model.test_on_batch(X[:B], y, weights))

    def gradient(dl: Any, **values: Any) -> Any:
        model.set_weights([values[name] for name in names])
        model.train_on_batch(X[:B], y, weights)
        return {v.path: dl[0] * v.grad for v in model.weights}

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
            return x

        def backward(self, dy: Any, need_dx: bool = True) -> Any:  # noqa: ARG002
            return dy

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


# Structure.


def test_building_with_and_without_input() -> None:
    described = layers.LSTM(H, input_shape=(T, I))
    for model in (
        fusedlstm.Sequential([layers.Input((T, I)), layers.LSTM(H)]),
        fusedlstm.Sequential([layers.Input(batch_shape=(None, T, I)), layers.LSTM(H)]),
        fusedlstm.Sequential([described]),
    ):
        assert model.built
        assert model.input_shape == (None, T, I)
        assert model.output_shape == (None, H)
        assert model.count_params() == 4 * H * (I + H + 1)
    later = fusedlstm.Sequential([layers.LSTM(H), layers.Dense(2)])
    assert not later.built
    assert later.weights == []
    later.build((None, T, I))
    assert len(later.weights) == 5
    other = fusedlstm.Sequential([layers.LSTM(H)])
    assert other(X).shape == (24, H)
    assert other.built


def test_add_and_pop() -> None:
    model = fusedlstm.Sequential()
    model.add(layers.Input((T, I)))
    model.add(layers.LSTM(H, return_sequences=True))
    model.add(layers.Dense(2))
    shapes = [model.output_shape]
    assert isinstance(model.pop(), layers.Dense)
    shapes.append(model.output_shape)
    model.add(layers.LSTM(2))
    with pytest.raises(ValueError, match="x: expected 3 axes"):
        model.add(layers.LSTM(2))
    assert len(model.layers) == 2
    shapes.append(model.output_shape)
    assert shapes == [(None, T, 2), (None, T, H), (None, 2)]


def test_sequences_of_any_length() -> None:
    model = fusedlstm.Sequential([layers.Input((None, I)), layers.LSTM(H, return_sequences=True)])
    assert model.output_shape == (None, None, H)
    assert model.predict(X[:, :2], verbose=0).shape == (24, 2, H)
    assert model.predict(X, verbose=0).shape == (24, T, H)


def test_summary() -> None:
    utils.clear_session()
    text: list[str] = []
    classifier(dropout=0.5).summary(print_fn=text.append)
    lines = text[0].splitlines()
    assert lines[0] == 'Model: "sequential"'
    assert [line.split() for line in lines[4:8]] == [
        ["lstm", "(LSTM)", "(None,", f"{T},", f"{H})", "264"],
        ["dropout", "(Dropout)", "(None,", f"{T},", f"{H})", "0"],
        ["lstm_1", "(LSTM)", "(None,", f"{H})", "312"],
        ["dense", "(Dense)", "(None,", f"{C})", "21"],
    ]
    assert lines[-3:] == ["Total params: 597", "Trainable params: 597", "Non-trainable params: 0"]
    text.clear()
    fusedlstm.Sequential([layers.LSTM(2)]).summary(print_fn=text.append)
    assert "?" in text[0]
    assert "not built" in text[0]


def test_get_layer() -> None:
    model = classifier()
    assert model.get_layer(index=-1) is model.layers[-1]
    assert model.get_layer(model.layers[1].name) is model.layers[1]
    with pytest.raises(ValueError, match=r"name: expected one of .*got 'nope'"):
        model.get_layer("nope")
    with pytest.raises(ValueError, match="index: expected a position among 4 layers, got 9"):
        model.get_layer(index=9)


def test_frozen_layers_do_not_change() -> None:
    model = classifier()
    for layer in model.layers[:3]:
        layer.trainable = False
    model.compile("adam", "sparse_categorical_crossentropy")
    before = model.get_weights()
    model.fit(X, Y, verbose=0)
    after = model.get_weights()
    assert same(before[:6], after[:6])
    assert not same(before[6:], after[6:])
    assert [v.path for v in model.trainable_weights] == [v.path for v in model.weights[6:]]


def test_weights_round_trip() -> None:
    model, other = classifier(seed=0), classifier(seed=1)
    assert not same(model.get_weights(), other.get_weights())
    other.set_weights(model.get_weights())
    assert np.array_equal(model(X), other(X))


def test_config_round_trip() -> None:
    model = classifier(dropout=0.1)
    again = fusedlstm.Sequential.from_config(json.loads(json.dumps(model.get_config())))
    assert again.get_config() == model.get_config()
    assert [v.path for v in again.weights] == [v.path for v in model.weights]
    assert again.input_shape == model.input_shape


# What it refuses, before any work.

GOOD = (np.ones((4, T, I)), np.zeros(4, int))


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        ((np.ones((4, T)), GOOD[1]), {}, r"^x: expected shape \(None, 5, 4\), got \(4, 5\)"),
        ((np.ones((4, T, I + 1)), GOOD[1]), {}, r"^x: expected shape \(None, 5, 4\), got \(4, 5, 5\)"),
        ((np.ones((0, T, I)), []), {}, "^x: expected at least one sample"),
        ((None, GOOD[1]), {}, "^x: expected an array, got None"),
        ((GOOD[0], None), {}, "^y: expected an array, got None"),
        ((GOOD[0], np.zeros(3, int)), {}, "^y: expected 4 entries, one for each sample of x, got 3"),
        ((GOOD[0], 1), {}, "^y: expected 4 entries, .*got a single number"),
        ((GOOD[0], [0, 1, 2, 3]), {}, r"^y: expected whole class numbers in \[0, 3\), got 3 at index \(3,\)"),
        ((GOOD[0], [0, 1, 2, -1]), {}, r"^y: expected whole class numbers in \[0, 3\), got -1"),
        ((GOOD[0], [0, 1, np.nan, 0]), {}, r"^y: expected finite numbers, got nan at index \(2, 0\)"),
        ((GOOD[0], [0, 1, 0.5, 0]), {}, r"^y: expected whole class numbers"),
        ((GOOD[0], np.eye(3)[GOOD[1]]), {}, "^y: .*for one-hot rows use categorical_crossentropy"),
        (GOOD, {"batch_size": 0}, "^batch_size: expected a positive integer, got 0"),
        (GOOD, {"epochs": 0}, "^epochs: expected a positive integer, got 0"),
        (GOOD, {"initial_epoch": -1}, "^initial_epoch: expected an integer >= 0, got -1"),
        (GOOD, {"verbose": 7}, "^verbose: expected 'auto', 0, 1 or 2, got 7"),
        (GOOD, {"validation_split": 1.0}, r"^validation_split: expected a number in \[0, 1\), got 1.0"),
        (GOOD, {"validation_split": 0.9}, "^validation_split: expected a share that leaves samples on both"),
        (
            GOOD,
            {"validation_batch_size": 0, "validation_data": GOOD},
            "^validation_batch_size: expected a pos",
        ),
        (GOOD, {"sample_weight": [1, 2]}, r"^sample_weight: expected shape \(4,\), got \(2,\)"),
        (GOOD, {"validation_data": GOOD[0]}, r"^validation_data: expected \(x, y\) or .*got ndarray"),
        (GOOD, {"validation_data": (np.ones((4, T + 1, I)), GOOD[1])}, r"^validation_data x: expected shape"),
        (GOOD, {"validation_data": (GOOD[0], [0, 0, 0])}, "^validation_data y: expected 4 entries"),
        (GOOD, {"validation_data": (GOOD[0], [0, 0, 0, 9])}, r"^validation_data y: .*\[0, 3\), got 9"),
        (GOOD, {"validation_data": (GOOD[0] * 255, GOOD[1])}, "^validation_data x: .*same scale.*255"),
    ],
)
def test_fit_refuses(arguments: Any, settings: dict[str, Any], message: str) -> None:
    model = compiled()
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        model.fit(*arguments, **{"verbose": 0, **settings})
    assert same(before, model.get_weights())
    assert model.optimizer is not None
    assert model.optimizer.iterations == 0


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones((4, T, I)) * 1j, "x: expected an array of real numbers, got ndarray of dtype complex128"),
        (np.full((4, T, I), "a"), "x: expected an array of real numbers, got ndarray of dtype <U1"),
        (np.full((4, T, I), None), "x: expected an array of real numbers, got ndarray of dtype object"),
        (iter([1]), "x: expected an array of real numbers, got list_iterator of dtype object"),
    ],
)
def test_types_that_fit_refuses(x: Any, message: str) -> None:
    model = compiled()
    for call in (model.fit, model.evaluate, model.train_on_batch):
        with pytest.raises(TypeError, match=message):
            call(x, GOOD[1])
    with pytest.raises(TypeError, match=message):
        model.predict(x)


def test_a_metric_that_does_not_fit_changes_nothing() -> None:
    model = classifier()
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["binary_accuracy"])
    before = model.get_weights()
    with pytest.raises(ValueError, match="y_true: expected shape"):
        model.fit(*GOOD, verbose=0)
    assert same(before, model.get_weights())


def test_compile_first() -> None:
    for call in ("fit", "evaluate", "train_on_batch"):
        with pytest.raises(
            RuntimeError, match=r"model: expected compile\(optimizer, loss\) to be called first"
        ):
            getattr(classifier(), call)(*GOOD)
    model = classifier()
    model.compile("adam")
    with pytest.raises(RuntimeError, match="with a loss"):
        model.fit(*GOOD)
    assert model.predict(GOOD[0], verbose=0).shape == (4, C)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "adm"}, "optimizer: expected one of .*got 'adm'"),
        ({"loss": "crossentropy"}, "loss: expected one of .*got 'crossentropy'"),
        ({"metrics": ["precision"]}, "metrics: expected one of .*got 'precision'"),
        ({"metrics": ["acc", "acc"]}, "metrics: expected different names, got 'acc' twice"),
        ({"metrics": [metrics.Mean("loss")]}, "metrics: expected different names, got 'loss' twice"),
        ({"loss": losses.MeanSquaredError("none")}, "loss: expected a reduction to one number"),
        ({"loss_weights": [1.0]}, "loss_weights: expected None for a model with one output"),
    ],
)
def test_compile_refuses(settings: dict[str, Any], message: str) -> None:
    model = compiled()
    before = model.optimizer, model.loss, model.metrics
    with pytest.raises(ValueError, match=message):
        model.compile(**{"loss": "mse", **settings})
    assert (model.optimizer, model.loss, model.metrics) == before


def stack(*items: Any) -> fusedlstm.Sequential:
    return fusedlstm.Sequential(list(items))


ANY: Any = fusedlstm  # for arguments that type checkers refuse


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: stack(3), TypeError, "layer: expected a layer, got 3"),
        (lambda: ANY.Sequential(layers.LSTM(2)), TypeError, "layers: expected a list of layers, got LSTM"),
        (lambda: stack(layers.LSTM(2, name="a"), layers.Dense(2, name="a")), ValueError, "'a' twice"),
        (
            lambda: fusedlstm.Sequential(name="a\0"),
            ValueError,
            "name: expected a non-empty string without NUL",
        ),
        (
            lambda: fusedlstm.Sequential(name="\udcff"),
            ValueError,
            "name: expected a non-empty string without NUL",
        ),
        (lambda: stack(layers.LSTM(2), layers.Input((3,))), ValueError, "only in the first item"),
        (lambda: stack(layers.LSTM(2, return_state=True)), ValueError, "return_state=True"),
        (
            lambda: stack(layers.LSTM(2), layers.Dense(2, dtype="float64")),
            ValueError,
            "layer: expected dtype float32 like the others, got float64",
        ),
        (
            lambda: stack(layers.Input((T, I)), layers.LSTM(2), layers.LSTM(2)),
            ValueError,
            r"x: expected 3 axes .* got shape \(None, 2\)",
        ),
        (lambda: stack(layers.Input((T, None)), layers.LSTM(2)), ValueError, "positive number of features"),
        (lambda: stack(layers.LSTM(2)).build(), ValueError, "input_shape: expected a shape"),
        (lambda: stack(layers.LSTM(2)).set_weights([]), ValueError, "weights: expected a built"),
        (lambda: stack(layers.LSTM(2)).output_shape, ValueError, "model: expected a built model"),
        (lambda: stack().pop(), ValueError, "model: expected at least one layer"),
        (lambda: stack().predict(X), ValueError, "model: expected at least one layer"),
        (lambda: ANY.Sequential()(layers.Input((T, I))), TypeError, r"are made with Sequential\(\[...\]\)"),
        (lambda: classifier().build((None, T + 1, I)), ValueError, r"input_shape: expected \(None, 5, 4\)"),
        (lambda: classifier().set_weights([]), ValueError, "weights: expected 8 arrays, got 0"),
    ],
)
def test_structures_that_are_refused(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_an_optimizer_serves_one_model() -> None:
    model, other = compiled(), classifier()
    model.fit(X, Y, verbose=0)
    other.compile(model.optimizer, "sparse_categorical_crossentropy")
    before = other.get_weights()
    with pytest.raises(ValueError, match="make a new optimizer for another model"):
        other.fit(X, Y, verbose=0)
    assert same(before, other.get_weights())


# The check of scales.

PIXELS = RANDOM.integers(0, 256, (200, T, I), dtype=np.uint8) * (RANDOM.random((200, T, I)) < 0.3)
SHARE = PIXELS.astype("float32") / 255


def scale_error(train: Any, held_out: Any) -> bool:
    model = fusedlstm.Sequential([layers.Flatten(), layers.Dense(1)])
    model.compile(optimizers.SGD(0.0), "mse")
    try:
        model.fit(train, np.zeros(len(train)), verbose=0, validation_data=(held_out, np.zeros(len(held_out))))
    except ValueError as error:
        return str(error).startswith("validation_data x: expected numbers of the same scale")
    return False


@pytest.mark.parametrize(
    ("train", "held_out"),
    [
        (SHARE, PIXELS),
        (PIXELS, SHARE),
        (SHARE, PIXELS.astype("float32")),
        (SHARE.astype("float64"), PIXELS[:5].astype("int64")),
        (X, X * 1000),
        (SHARE, (PIXELS // 16).astype("uint8")),
    ],
)
def test_other_scales_are_refused(train: Any, held_out: Any) -> None:
    assert scale_error(train, held_out)


OUTLIERS = X.copy()
OUTLIERS[3, 2, 1] = 1e9
MISSING = X.copy()
MISSING[:, 1] = np.nan


@pytest.mark.parametrize(
    ("train", "held_out"),
    [
        (SHARE, SHARE[:3]),
        (PIXELS, PIXELS[:3]),
        (PIXELS, PIXELS.astype("float64")),
        (X, X * 10),
        (X, OUTLIERS),
        (OUTLIERS, X),
        (X, MISSING),
        (X, X * 0),
        (X * 0, X),
        (X, np.full((2, T, I), 1e-3) * (np.arange(I) == 0)),
        (RANDOM.lognormal(0, 3, (200, T, I)), RANDOM.lognormal(1, 3, (50, T, I))),
        (RANDOM.integers(0, 2, (50, T, I)), RANDOM.random((50, T, I))),
        (np.cumsum(np.ones((100, T, I)), 0), 100 + np.cumsum(np.ones((20, T, I)), 0)),
    ],
)
def test_no_false_alarm(train: Any, held_out: Any) -> None:
    with np.errstate(all="ignore"):
        assert not scale_error(train, held_out)
