"""Metrics that models are compiled with: masks, logs, functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import layers, losses, metrics

RANDOM = np.random.default_rng(2)


def masked_model(metric: Any) -> tuple[fusedlstm.Sequential, Any, Any]:
    fusedlstm.utils.set_random_seed(4)
    model = fusedlstm.Sequential(
        [
            fusedlstm.Input((4, 2)),
            layers.Masking(),
            layers.LSTM(3, return_sequences=True),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("sgd", "binary_crossentropy", metrics=[metric])
    x = RANDOM.normal(size=(6, 4, 2)).astype("f")
    x[:, 2:] = 0
    return model, x, RANDOM.integers(0, 2, (6, 4, 1))


@pytest.mark.parametrize(
    ("metric", "masked"),
    [("mae", True), ("binary_accuracy", True), (metrics.Recall(0.4), False), (metrics.AUC(), False)],
)
def test_masked_steps(metric: Any, masked: bool) -> None:
    """Means over steps leave them out; as in Keras, counts do not."""
    model, x, y = masked_model(metric)
    got = model.evaluate(x, y, verbose=0)[1]
    output = model.predict(x, verbose=0)
    twin = metrics.get(metric)
    twin.reset_state()
    steps = slice(0, 2) if masked else slice(None)
    assert got == pytest.approx(twin(y[:, steps], output[:, steps]), rel=1e-6)


def test_masks_and_weights_together() -> None:
    y, p = RANDOM.normal(size=(2, 3, 4, 2))
    mask = RANDOM.random((3, 4)) < 0.6
    by_row, by_step = RANDOM.random(3), RANDOM.random((3, 4))
    for weights, all_weights in ((by_row, by_row[:, None] * mask), (by_step, by_step * mask), (None, mask)):
        for given in (weights, losses.base.prepare_weights(weights, (3, 4))):
            metric = metrics.MeanSquaredError()
            metric.update_masked(y, p, mask, given)
            assert metric.result() == metrics.MeanSquaredError()(y, p, all_weights)


def test_several_numbers_in_logs(capsys: pytest.CaptureFixture[str]) -> None:
    model = fusedlstm.Sequential([fusedlstm.Input((2,)), layers.Dense(3, activation="softmax")])
    model.compile("sgd", "categorical_crossentropy", metrics=[metrics.F1Score()])
    x, y = RANDOM.normal(size=(8, 2)), np.eye(3)[RANDOM.integers(0, 3, 8)]
    history: Any = model.fit(x, y, epochs=2, verbose=2).history["f1_score"]
    assert [values.shape for values in history] == [(3,), (3,)]
    assert f"f1_score: {history[-1].mean():.4g}" in capsys.readouterr().out


def test_labels_that_do_not_fit_are_found_before_training() -> None:
    model = fusedlstm.Sequential([fusedlstm.Input((2,)), layers.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["Precision"])
    with pytest.raises(
        ValueError, match=r"metrics: Precision does not fit y: y_true: expected shape \(1, 3\)"
    ):
        model.fit(np.zeros((8, 2)), np.zeros(8), verbose=0)


def distance(y_true: Any, y_pred: Any, power: int = 1) -> Any:
    return (abs(y_pred - y_true) ** power).mean(axis=-1)


def test_functions() -> None:
    x = RANDOM.normal(size=(10, 2))
    squared = metrics.MeanMetricWrapper(distance, "squared", power=2)
    model = fusedlstm.Sequential([fusedlstm.Input((2,)), layers.Dense(2)])
    model.compile("sgd", "mse", metrics=[distance, squared, losses.mean_absolute_error, "mse"])
    logs = model.evaluate(x, x, batch_size=4, verbose=0, return_dict=True)
    assert logs["distance"] == pytest.approx(logs["mean_absolute_error"], rel=1e-6)
    assert logs["squared"] == pytest.approx(logs["mse"], rel=1e-6)
    assert type(metrics.get(losses.mean_absolute_error)) is metrics.MeanMetric


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in metrics.__all__
        if name.islower() and name not in ("get", "serialize", "edit_distance") and "_error_rate" not in name
    ],
)
def test_functions_of_keras(name: str) -> None:
    """As metrics they are their classes, which files can hold."""
    function = getattr(metrics, name)
    classes = RANDOM.integers(0, 8, 6)
    y = classes if name.startswith("sparse") else np.eye(8)[classes]
    p = RANDOM.dirichlet(np.ones(8), 6)
    metric = metrics.get(function)
    assert type(metric) is not metrics.MeanMetricWrapper
    assert metric.name == name
    assert function(y, p).shape == (6,)
    assert metric(y, p) == pytest.approx(function(y, p).mean(dtype=np.float64), rel=1e-12)


def test_a_function_around_one_of_keras() -> None:
    def top_2(y_true: Any, y_pred: Any) -> Any:
        return metrics.top_k_categorical_accuracy(y_true, y_pred, k=2)

    y, p = np.eye(5)[RANDOM.integers(0, 5, 20)], RANDOM.random((20, 5))
    assert metrics.get(top_2)(y, p) == metrics.TopKCategoricalAccuracy(2)(y, p)


def test_a_class_with_a_state() -> None:
    class Largest(metrics.Metric):
        def __init__(self) -> None:
            super().__init__("largest")
            self.found: list[float] = []

        def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
            assert sample_weight is None
            self.found.append(abs(y_pred - y_true).max())

        def result(self) -> Any:
            return max(self.found)

        def reset_state(self) -> None:
            self.found.clear()

    model = fusedlstm.Sequential([fusedlstm.Input((2,)), layers.Dense(2)])
    model.compile("sgd", "mse", metrics=[Largest()])
    x = RANDOM.normal(size=(10, 2)).astype("f")
    got = model.evaluate(x, 2 * x, batch_size=4, verbose=0)[1]
    assert got == pytest.approx(abs(model.predict(x, verbose=0) - 2 * x).max(), rel=1e-6)


def test_functions_that_are_none() -> None:
    wrong: Any = 3
    with pytest.raises(TypeError, match="fn: expected a function of y_true and y_pred, got 3"):
        metrics.MeanMetricWrapper(wrong)
    with pytest.raises(TypeError, match="metrics: result of lambda: expected an array of real"):
        metrics.get(lambda _y, _p: "a")([1.0], [1.0])
