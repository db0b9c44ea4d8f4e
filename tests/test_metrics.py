"""Metrics: values, running means, choice of the accuracy, names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fusedlstm import losses, metrics

SHARES = np.array([[0.1, 0.7, 0.2], [0.8, 0.1, 0.1], [0.2, 0.3, 0.5], [0.4, 0.4, 0.2]])


def test_sparse_categorical_accuracy() -> None:
    metric = metrics.SparseCategoricalAccuracy()
    assert metric([1, 0, 1, 0], SHARES) == 0.75  # of two equal largest predictions the first counts
    metric.reset_state()
    assert metric([[1], [0], [1], [0]], SHARES) == 0.75


def test_categorical_accuracy() -> None:
    assert metrics.CategoricalAccuracy()(np.eye(3)[[1, 1, 2, 0]], SHARES) == 0.75


def test_binary_accuracy() -> None:
    predictions = [[0.1], [0.5], [0.51], [0.9]]
    assert metrics.BinaryAccuracy()([[0], [0], [1], [0]], predictions) == 0.75
    assert metrics.BinaryAccuracy()([0, 0, 1, 0], predictions) == 0.75
    assert metrics.BinaryAccuracy(threshold=0.8)([0, 0, 1, 0], predictions) == 0.5


@pytest.mark.parametrize(
    ("labels", "predictions", "expected"),
    [
        ([1, 0, 1, 0], SHARES, 0.75),
        ([[1], [0], [1], [0]], SHARES, 0.75),
        (np.eye(3)[[1, 1, 2, 0]], SHARES, 0.75),
        ([[0], [1]], [[0.4], [0.3]], 0.5),
        ([0, 1], [[0.4], [0.3]], 0.5),
        ([[1, 0], [2, 0]], [SHARES[:2], SHARES[2:]], 1.0),
    ],
)
def test_accuracy_is_chosen_by_shapes(labels: Any, predictions: Any, expected: float) -> None:
    assert metrics.get("accuracy")(labels, np.asarray(predictions)) == expected


def test_running_mean_counts_samples() -> None:
    metric = metrics.SparseCategoricalAccuracy()
    assert metric.result() == 0.0
    metric.update_state([1], SHARES[:1])
    metric.update_state([1, 1, 1], SHARES[1:])
    assert metric.result() == 0.25
    metric.reset_state()
    assert metric.result() == 0.0


def test_sample_weight() -> None:
    metric = metrics.SparseCategoricalAccuracy()
    assert metric([1, 1, 2, 2], SHARES, [3, 1, 0, 0]) == 0.75


def test_mean() -> None:
    mean = metrics.Mean()
    mean.update_state(2.0, 3)
    mean.update_state(4.0, 1)
    assert mean.result() == 2.5
    mean.reset_state()
    mean.update_state([1.0, 2.0])
    assert mean.result() == 1.5


def test_loss_as_metric() -> None:
    predictions = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert metrics.get("mse")(np.zeros((2, 2)), predictions) == losses.MeanSquaredError()(
        0 * predictions, predictions
    )
    assert metrics.MeanMetric("sparse_categorical_crossentropy").name == "sparse_categorical_crossentropy"


@pytest.mark.parametrize("name", ["accuracy", "acc", "mse", "mae", "binary_accuracy", "mean_absolute_error"])
def test_log_key_is_the_name_as_given(name: str) -> None:
    assert metrics.get(name).name == name


@pytest.mark.parametrize("name", sorted(metrics.REGISTRY.names))
def test_class_names(name: str) -> None:
    cls = metrics.REGISTRY.names[name]
    assert type(metrics.get(cls.__name__)) is type(metrics.get(cls)) is cls


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.get("accurracy"), r"metrics: expected one of \['accuracy', .*got 'accurracy'"),
        (lambda: metrics.BinaryAccuracy(threshold=1), r"threshold: expected a number in \(0, 1\), got 1"),
        (lambda: metrics.SparseCategoricalAccuracy()([1, 2], SHARES), r"y_true: expected shape \(4,\), got"),
        (
            lambda: metrics.CategoricalAccuracy()([1, 2, 0, 1], SHARES),
            r"y_true: expected shape \(4, 3\), got",
        ),
        (lambda: metrics.BinaryAccuracy()([1, 2], SHARES), r"y_true: expected shape \(4, 3\), got"),
    ],
)
def test_errors(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
