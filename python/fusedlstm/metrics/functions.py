"""Accuracies as functions, which return a number for each sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm import config
from fusedlstm.base import checks
from fusedlstm.losses.base import prepare_predictions
from fusedlstm.metrics.accuracy import (
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusedlstm.metrics.base import Metric


def binary_accuracy(y_true: object, y_pred: object, threshold: float = 0.5) -> Any:
    """Return `BinaryAccuracy` of each sample: shape (...) for predictions (..., C)."""
    return _each(BinaryAccuracy(threshold=threshold), y_true, y_pred)


def categorical_accuracy(y_true: object, y_pred: object) -> Any:
    """Return `CategoricalAccuracy` of each sample: shape (...) for predictions (..., C)."""
    return _each(CategoricalAccuracy(), y_true, y_pred)


def sparse_categorical_accuracy(y_true: object, y_pred: object) -> Any:
    """Return `SparseCategoricalAccuracy` of each sample: shape (...) for predictions (..., C)."""
    return _each(SparseCategoricalAccuracy(), y_true, y_pred)


def top_k_categorical_accuracy(y_true: object, y_pred: object, k: int = 5) -> Any:
    """Return `TopKCategoricalAccuracy` of each sample: shape (...) for predictions (..., C)."""
    return _each(TopKCategoricalAccuracy(k), y_true, y_pred)


def sparse_top_k_categorical_accuracy(
    y_true: object, y_pred: object, k: int = 5, from_sorted_ids: bool = False
) -> Any:
    """Return `SparseTopKCategoricalAccuracy` of each sample: shape (...) for predictions (..., C)."""
    return _each(SparseTopKCategoricalAccuracy(k, from_sorted_ids=from_sorted_ids), y_true, y_pred)


def _each(metric: Metric, y_true: object, y_pred: object) -> Any:
    values = metric.values(checks.numeric(y_true, "y_true"), prepare_predictions(y_pred))
    return values.astype(config.floatx(), copy=False)


CLASSES: dict[Callable[..., Any], type[Metric]] = {
    binary_accuracy: BinaryAccuracy,
    categorical_accuracy: CategoricalAccuracy,
    sparse_categorical_accuracy: SparseCategoricalAccuracy,
    top_k_categorical_accuracy: TopKCategoricalAccuracy,
    sparse_top_k_categorical_accuracy: SparseTopKCategoricalAccuracy,
}
