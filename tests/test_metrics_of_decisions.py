"""Metrics of decisions, and scores: values by hand, and by other ways to count."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fusedlstm import metrics

RANDOM = np.random.default_rng(2)


def test_counts() -> None:
    labels, predictions, weights = [0, 1, 1, 1, 0], [0.2, 0.9, 0.4, 0.5, 0.6], [1, 2, 3, 4, 5]
    for cls, plain, weighted in (
        (metrics.TruePositives, 1, 2),
        (metrics.FalsePositives, 1, 5),
        (metrics.TrueNegatives, 1, 1),
        (metrics.FalseNegatives, 2, 7),
    ):
        assert cls()(labels, predictions) == plain
        assert cls()(labels, predictions, weights) == weighted
        # What lies on a threshold does not exceed it.
        assert cls([0.5])(labels, predictions) == plain
    assert metrics.TruePositives([0.95, 0.45, 0.1])(labels, predictions).tolist() == [0, 2, 3]


def test_precision_and_recall() -> None:
    labels, predictions = [[0, 1, 1], [1, 0, 0]], [[0.1, 0.6, 0.4], [0.7, 0.8, 0.2]]
    assert metrics.Precision()(labels, predictions) == 2 / 3
    assert metrics.Recall()(labels, predictions) == 2 / 3
    assert metrics.Precision([0.3, 0.65])(labels, predictions).tolist() == [3 / 4, 1 / 2]
    assert metrics.Precision(top_k=1)(labels, predictions) == 1 / 2
    assert metrics.Recall(top_k=1)(labels, predictions) == 1 / 3
    assert metrics.Recall(class_id=2)(labels, predictions) == 0
    assert metrics.Precision(class_id=1)(labels, predictions, [3, 1]) == 3 / 4
    assert metrics.Precision(0.9)(labels, predictions) == 0.0


@pytest.mark.parametrize("weighted", [False, True])
def test_area_under_the_roc_curve_is_the_share_of_pairs_in_order(weighted: bool) -> None:
    labels, predictions = RANDOM.integers(0, 2, 40), RANDOM.integers(0, 11, 40) / 10
    weights = RANDOM.uniform(0.5, 2, 40) if weighted else np.ones(40)
    pairs = total = 0.0
    for i in np.flatnonzero(labels):
        for j in np.flatnonzero(labels == 0):
            order = np.sign(predictions[i] - predictions[j]) / 2 + 0.5
            pairs, total = pairs + order * weights[i] * weights[j], total + weights[i] * weights[j]
    for metric in (metrics.AUC(), metrics.AUC(thresholds=np.arange(0.05, 1, 0.1).tolist())):
        assert metric(labels, predictions, weights) == pytest.approx(pairs / total, rel=1e-12)


def test_areas_of_several_labels() -> None:
    labels, predictions = RANDOM.integers(0, 2, (40, 3)), RANDOM.random((40, 3))
    areas = [metrics.AUC()(labels[:, k], predictions[:, k]) for k in range(3)]
    assert metrics.AUC(multi_label=True)(labels, predictions) == pytest.approx(np.mean(areas), rel=1e-12)
    weighted = metrics.AUC(multi_label=True, label_weights=[1, 2, 3])(labels, predictions)
    assert weighted == pytest.approx(np.dot(areas, [1, 2, 3]) / 6, rel=1e-12)
    assert metrics.AUC(multi_label=True).result() == 0.0


def test_decisions_on_what_is_no_number() -> None:
    for thresholds in (0.5, [0.0, 0.5, 1.0]):
        assert not np.any(metrics.TruePositives(thresholds)([1.0], [math.nan]))


def test_f_scores() -> None:
    labels = [[1, 1, 1], [1, 0, 0], [1, 1, 0]]
    predictions = [[0.2, 0.6, 0.7], [0.2, 0.6, 0.6], [0.6, 0.8, 0.0]]
    # From Keras's documentation.
    assert metrics.F1Score(threshold=0.5)(labels, predictions) == pytest.approx([0.5, 0.8, 2 / 3], rel=1e-6)
    assert metrics.FBetaScore(None, 2.0, 0.5)(labels, predictions) == pytest.approx(
        [0.3846154, 0.90909094, 0.8333334], rel=1e-6
    )
    assert metrics.F1Score("macro", 0.5)(labels, predictions) == pytest.approx(
        (0.5 + 0.8 + 2 / 3) / 3, rel=1e-6
    )
    # 4 decisions are right, 2 are wrong, and 2 are missing.
    assert metrics.F1Score("micro", 0.5)(labels, predictions) == pytest.approx(8 / 12, rel=1e-6)
    # By the largest of a row; a row of zeros has none.
    assert metrics.F1Score("micro")(np.eye(3)[[1, 0]], [[0.1, 0.5, 0.2], [0, 0, 0]]) == pytest.approx(2 / 3)


def test_r2_score() -> None:
    labels, predictions = RANDOM.normal(size=(20, 2)), RANDOM.normal(size=(20, 2))
    squares = ((labels - predictions) ** 2).sum(axis=0)
    each = 1 - squares / ((labels - labels.mean(axis=0)) ** 2).sum(axis=0)
    assert metrics.R2Score(None)(labels, predictions) == pytest.approx(each, rel=1e-12)
    assert metrics.R2Score()(labels, predictions) == pytest.approx(each.mean(), rel=1e-12)
    assert math.isnan(metrics.R2Score().result())
    with pytest.warns(UserWarning, match="r2_score: 3 regressors are too many for 2 numbers"):
        assert metrics.R2Score(num_regressors=3)([[1.0], [2.0]], [[1.0], [2.0]]) == 1
