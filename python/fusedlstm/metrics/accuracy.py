"""Shares of samples that are right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.base import checks
from fusedlstm.losses.base import like_predictions
from fusedlstm.metrics.base import Metric

if TYPE_CHECKING:
    import numpy.typing as npt

    from fusedlstm.base.types import Array


class Accuracy(Metric):
    """Share of predictions that are the labels themselves."""

    def __init__(self, name: str = "accuracy") -> None:
        super().__init__(name)

    def values(self, y_true: npt.NDArray[Any], y_pred: Array) -> npt.NDArray[Any]:
        """Return 1 for each right prediction; see `Metric.values`."""
        right: npt.NDArray[Any] = y_pred == like_predictions(y_true, y_pred.shape)
        return right


class SparseCategoricalAccuracy(Metric):
    """Share of samples whose largest prediction is at the class number: labels (...) or (..., 1)."""

    def __init__(self, name: str = "sparse_categorical_accuracy") -> None:
        super().__init__(name)

    def values(self, y_true: npt.NDArray[Any], y_pred: Array) -> npt.NDArray[Any]:
        """Return 1 for each right sample; see `Metric.values`."""
        right: npt.NDArray[Any] = y_pred.argmax(axis=-1) == _classes(y_true, y_pred)
        return right


class CategoricalAccuracy(Metric):
    """Share of samples whose largest prediction is where the one-hot row has its one."""

    def __init__(self, name: str = "categorical_accuracy") -> None:
        super().__init__(name)

    def values(self, y_true: npt.NDArray[Any], y_pred: Array) -> npt.NDArray[Any]:
        """Return 1 for each right sample; see `Metric.values`."""
        _same_shape(y_true.shape, y_pred.shape)
        right: npt.NDArray[Any] = y_pred.argmax(axis=-1) == y_true.argmax(axis=-1)
        return right


class BinaryAccuracy(Metric):
    """Share of predictions on the right side of ``threshold``, which must lie in (0, 1)."""

    def __init__(self, name: str = "binary_accuracy", threshold: float = 0.5) -> None:
        super().__init__(name)
        self.threshold = checks.number(threshold, "threshold")
        if not 0 < self.threshold < 1:
            raise ValueError(f"threshold: expected a number in (0, 1), got {threshold}")

    def values(self, y_true: npt.NDArray[Any], y_pred: Array) -> npt.NDArray[Any]:
        """Return each sample's share of right predictions; see `Metric.values`."""
        right = (y_pred > self.threshold) == like_predictions(y_true, y_pred.shape)
        share: npt.NDArray[Any] = right.mean(axis=-1) if right.ndim > 1 else right
        return share


class AutoAccuracy(Metric):
    """What Keras makes of ``metrics=["accuracy"]``: one of the three accuracies, chosen by the shapes.

    Predictions (..., 1) are binary, labels without a class axis are class numbers, others are one-hot.
    """

    def __init__(self, name: str = "accuracy") -> None:
        super().__init__(name)
        self._binary = BinaryAccuracy()
        self._sparse = SparseCategoricalAccuracy()
        self._one_hot = CategoricalAccuracy()

    def values(self, y_true: npt.NDArray[Any], y_pred: Array) -> npt.NDArray[Any]:
        """Return each sample's accuracy; see `Metric.values`."""
        if y_pred.shape[-1] == 1:
            return self._binary.values(y_true, y_pred)
        sparse = y_true.ndim < y_pred.ndim or y_true.shape[-1] == 1
        return (self._sparse if sparse else self._one_hot).values(y_true, y_pred)


class TopKCategoricalAccuracy(Metric):
    """Share of samples where less than ``k`` predictions are larger than that of the one-hot row's one."""

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy") -> None:
        super().__init__(name)
        self.k = checks.positive_int(k, "k")

    def values(self, y_true: npt.NDArray[Any], y_pred: Array) -> npt.NDArray[Any]:
        """Return 1 for each right sample; see `Metric.values`."""
        _same_shape(y_true.shape, y_pred.shape)
        return _among_largest(y_true.argmax(axis=-1), y_pred, self.k)


class SparseTopKCategoricalAccuracy(Metric):
    """Share of samples where less than ``k`` predictions are larger than that of the class number.

    Parameters
    ----------
    k : int
        How many predictions may be right.
    name : str
        Key in logs.
    from_sorted_ids : bool
        Whether predictions are class numbers, the best one first, instead of a number for each class.
    """

    def __init__(
        self, k: int = 5, name: str = "sparse_top_k_categorical_accuracy", from_sorted_ids: bool = False
    ) -> None:
        super().__init__(name)
        self.k = checks.positive_int(k, "k")
        self.from_sorted_ids = checks.flag(from_sorted_ids, "from_sorted_ids")

    def values(self, y_true: npt.NDArray[Any], y_pred: Array) -> npt.NDArray[Any]:
        """Return 1 for each right sample; see `Metric.values`."""
        classes = _classes(y_true, y_pred)
        if self.from_sorted_ids:
            found: npt.NDArray[Any] = (y_pred[..., : self.k] == classes[..., None]).any(axis=-1)
            return found
        return _among_largest(checks.ids(classes, "y_true", y_pred.shape[-1]), y_pred, self.k)


def _classes(y_true: npt.NDArray[Any], y_pred: Array) -> npt.NDArray[Any]:
    if y_true.shape == (*y_pred.shape[:-1], 1):
        y_true = y_true[..., 0]
    _same_shape(y_true.shape, y_pred.shape[:-1])
    return y_true


def _among_largest(classes: npt.NDArray[Any], y_pred: Array, k: int) -> npt.NDArray[Any]:
    own = np.take_along_axis(y_pred, classes[..., None], axis=-1)
    # Not a number is no large one.
    own = np.where(np.isnan(own), -np.inf, own)
    among: npt.NDArray[Any] = (y_pred > own).sum(axis=-1) < k
    return among


def _same_shape(got: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if got != expected:
        raise ValueError(f"y_true: expected shape {expected}, got {got}")
