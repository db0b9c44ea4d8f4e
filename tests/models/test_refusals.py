"""What models refuse, before any work, and scales of data that would not train."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import layers, losses, metrics

from .common import C, I, T, X, Y, classifier, compiled, same, stack

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
        ({"metrics": ["precisely"]}, "metrics: expected one of .*got 'precisely'"),
        ({"metrics": ["acc", "acc"]}, "metrics: expected different names, got 'acc' twice"),
        ({"metrics": [metrics.Mean("loss")]}, "metrics: expected different names, got 'loss' twice"),
        ({"loss": losses.MeanSquaredError("none")}, "loss: expected a reduction to one number"),
        ({"loss_weights": [1.0, 2.0]}, "loss_weights: expected 1, .* got 2"),
        ({"loss_weights": [math.inf]}, "loss_weights: expected a finite number"),
        ({"loss": ["mse", "mse"]}, "loss: expected 1, .* got 2"),
        ({"loss": {"other": "mse"}}, "loss: expected the names"),
    ],
)
def test_compile_refuses(settings: dict[str, Any], message: str) -> None:
    model = compiled()
    before = model.optimizer, model.loss, model.metrics
    with pytest.raises(ValueError, match=message):
        model.compile(**{"loss": "mse", **settings})
    assert (model.optimizer, model.loss, model.metrics) == before


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
        (
            lambda: ANY.Sequential()(layers.InputLayer((T, I))),
            TypeError,
            r"are made with Sequential\(\[...\]\)",
        ),
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
