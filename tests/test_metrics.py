"""Metrics: values, running means, choice of the accuracy, names."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fusedlstm import losses, metrics
from fusedlstm.base.names import clear_session

if TYPE_CHECKING:
    from collections.abc import Callable

RANDOM = np.random.default_rng(2)
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


@pytest.mark.parametrize(
    "name", ["Accuracy", "MAE", "AUC", "TopKCategoricalAccuracy", *metrics.REGISTRY.names]
)
def test_log_key_is_the_name_as_given(name: str) -> None:
    assert metrics.get(name).name == name


@pytest.mark.parametrize("name", sorted(metrics.REGISTRY.names))
def test_class_names(name: str) -> None:
    cls = metrics.REGISTRY.names[name]
    assert type(metrics.get(cls.__name__)) is type(metrics.get(cls)) is cls


MANY = metrics.AUC(multi_label=True, num_labels=2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.TopKCategoricalAccuracy(0), "k: expected a positive integer, got 0"),
        (
            lambda: metrics.SparseTopKCategoricalAccuracy(2)([3, 0, 0, 0], SHARES),
            r"y_true: .*\[0, 3\), got 3",
        ),
        (lambda: metrics.Precision([0.5, 1.5]), r"thresholds: .*in \[0, 1\], got 1.5 at index \(1,\)"),
        (lambda: metrics.Precision([]), r"thresholds: expected a number or a list of them, got \[\]"),
        (lambda: metrics.Recall(class_id=3)(SHARES, SHARES), r"class_id: .* shape \(4, 3\), got 3"),
        (lambda: metrics.Recall()([1, 0], SHARES), r"y_true: expected shape \(4, 3\) like .* got \(2,\)"),
        (lambda: metrics.AUC(1), "num_thresholds: expected at least 2, got 1"),
        (lambda: metrics.AUC(curve="P"), "curve: expected one of .*'PRGAIN'.*, got 'P'"),
        (lambda: metrics.AUC(summation_method="x"), "summation_method: expected one of .*got 'x'"),
        (lambda: metrics.AUC(thresholds=[2.0]), "thresholds: .*got 2.0"),
        (lambda: metrics.AUC(num_labels=2), "num_labels: expected None without multi_label, got 2"),
        (lambda: MANY(SHARES, SHARES), r"y_pred: expected shape \(B, 2\), got \(4, 3\)"),
        (
            lambda: metrics.AUC(label_weights=[1])(SHARES, SHARES),
            r"label_weights: .*\(4, 3\), got shape \(1,\)",
        ),
        (lambda: metrics.F1Score("mean"), "average: expected one of .*got 'mean'"),
        (lambda: metrics.FBetaScore(beta=0), "beta: expected a positive number, got 0"),
        (lambda: metrics.F1Score(threshold=0), r"threshold: expected a number in \(0, 1\] or None, got 0"),
        (lambda: metrics.F1Score()([1, 0], [0.5, 0.5]), r"y_pred: expected shape \(B, C\), got \(2,\)"),
        (lambda: metrics.F1Score()([1, 0], SHARES), r"y_true: expected shape \(4, 3\) like .* got \(2,\)"),
        (lambda: metrics.R2Score("mean"), "class_aggregation: expected one of .*got 'mean'"),
        (lambda: metrics.R2Score()([1, 0], [0.5, 0.5]), r"y_pred: expected shape \(B, C\), got \(2,\)"),
        (lambda: metrics.CosineSimilarity(axis=0)(SHARES, SHARES), "axis: expected the last one"),
        (lambda: metrics.get("accurracy"), r"metrics: expected one of \['accuracy', .*got 'accurracy'"),
        (lambda: metrics.BinaryAccuracy(threshold=1), r"threshold: expected a number in \(0, 1\), got 1"),
        (lambda: metrics.SparseCategoricalAccuracy()([1, 2], SHARES), r"y_true: expected shape \(4,\), got"),
        (
            lambda: metrics.CategoricalAccuracy()([1, 2, 0, 1], SHARES),
            r"y_true: expected shape \(4, 3\), got",
        ),
        (lambda: metrics.BinaryAccuracy()([1, 2], SHARES), r"expected shape \(4, 3\) like .* got \(2,\)"),
    ],
)
def test_errors(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def cases() -> dict[str, tuple[Callable[[], metrics.Metric], Any, Any]]:
    """Metrics that a model can have, each with labels and predictions for 12 samples."""
    classes = RANDOM.integers(0, 3, 12)
    kinds = {"real": RANDOM.normal(size=(12, 3)), "one_hot": np.eye(3)[classes], "sparse": classes}
    made: dict[str, tuple[Callable[[], metrics.Metric], Any, Any]] = {}
    for name, cls in metrics.REGISTRY.names.items():
        if len(name) > 4 or name == "auc":
            kind = "sparse" if "sparse" in name else "real" if "error" in name or "r2" in name else "one_hot"
            made[name] = (partial(metrics.get, cls), kinds[kind], RANDOM.dirichlet(np.ones(3), 12))
    made["label_error_rate"] = (
        metrics.LabelErrorRate,
        RANDOM.integers(0, 3, (12, 4)),
        RANDOM.dirichlet(np.ones(3), (12, 6)),
    )
    return made


CASES = cases()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_batches_are_as_all_samples_at_once(name: str, weighted: bool) -> None:
    make, y, p = CASES[name]
    weights = RANDOM.uniform(0.5, 2, 12) if weighted else None
    one, many = make(), make()
    expected = one(y, p, weights)
    many.update_state(y[:4], p[:4])
    many.reset_state()
    for part in (slice(0, 5), slice(5, 10), slice(10, 12)):
        many.update_state(y[part], p[part], None if weights is None else weights[part])
    assert np.allclose(many.result(), expected, rtol=1e-12, atol=1e-15)
    assert np.any(expected)
    # Weights that are whole numbers are repetitions.
    counts = RANDOM.integers(0, 3, 12)
    weighed, repeated = make(), make()
    weighed.update_state(y, p, counts)
    repeated.update_state(np.repeat(y, counts, axis=0), np.repeat(p, counts, axis=0))
    assert np.allclose(weighed.result(), repeated.result(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", CASES)
def test_descriptions_and_checks(name: str) -> None:
    make, y, p = CASES[name]
    one = make()
    again = metrics.get(json.loads(json.dumps(metrics.serialize(one))))
    assert np.array_equal(again(y, p), one(y, p))
    before = one.result()
    one.check(y, p.shape)
    assert np.array_equal(one.result(), before)
    with pytest.raises(ValueError, match="y_true: expected"):
        one.check(np.zeros((12, 7, 2)), p.shape)


def test_automatic_names() -> None:
    clear_session()
    names = [cls().name for cls in (metrics.AUC, metrics.Precision, metrics.Precision, metrics.TruePositives)]
    assert names == ["auc", "precision", "precision_1", "true_positives"]
    assert metrics.get("Precision").name == "Precision"


def test_sum() -> None:
    total = metrics.Sum()
    total.update_state([1.0, 2.0], [3, 1])
    total.update_state(4.0)
    assert total.result() == 9


def test_a_sample_counts_once_however_many_steps_it_has() -> None:
    """As in Keras."""
    mean = metrics.Mean()
    mean.update_state([[1.0, 3.0]])
    mean.update_state([[4.0, 4.0, 4.0, 4.0]])
    assert mean.result() == 3
