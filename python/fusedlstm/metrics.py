"""Metrics with Keras's names: running means over the samples seen since the last reset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fusedlstm import config, losses
from fusedlstm.base import checks
from fusedlstm.base.names import checked_name
from fusedlstm.base.registry import Configured, Registry, serialize
from fusedlstm.losses.base import prepare_weights

if TYPE_CHECKING:
    from fusedlstm.base.types import Array

__all__ = [
    "AutoAccuracy",
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "Mean",
    "MeanAbsoluteError",
    "MeanMetric",
    "MeanSquaredError",
    "Metric",
    "SparseCategoricalAccuracy",
    "get",
    "serialize",
]


class Metric(Configured):
    """Base of metrics: a mean of numbers that `values` gives for each sample.

    Parameters
    ----------
    name : str, optional
        Key in logs and histories; the class's name by default.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = checked_name(type(self).__name__ if name is None else name)
        self.reset_state()

    def values(self, y_true: npt.NDArray[Any], y_pred: Array) -> npt.NDArray[Any]:
        """Return one number per sample, shape (...) for predictions (..., C)."""
        raise NotImplementedError(f"{type(self).__name__} must define values")

    def update_state(self, y_true: object, y_pred: object, sample_weight: object = None) -> None:
        """Take a batch into the mean.

        Parameters
        ----------
        y_true : array_like
            Labels.
        y_pred : array_like, shape (..., C)
            Predictions.
        sample_weight : array_like, optional
            Weight of each sample, shape (B,) or that of the samples' values.

        Raises
        ------
        TypeError, ValueError
            If the two do not fit each other.
        """
        values = self.values(checks.numeric(y_true, "y_true"), checks.numeric(y_pred, "y_pred"))
        self._add(values, prepare_weights(sample_weight, values.shape))

    def check(self, y_true: npt.NDArray[Any], shape: tuple[int, ...]) -> None:
        """Check labels that `update_state` will get with predictions of a shape, before there are any.

        The first sample is tried with zeros, where `values` says what the metric is.

        Parameters
        ----------
        y_true : array, shape (N, ...)
            Labels.
        shape : tuple of int
            Shape of the predictions, (N, ..., C).

        Raises
        ------
        TypeError, ValueError
            If the two do not fit each other.
        """
        if type(self).values is Metric.values or type(y_true) is not np.ndarray:
            return
        with np.errstate(all="ignore"):
            self.values(y_true[:1], np.zeros((1, *shape[1:]), config.floatx()))

    def result(self) -> float:
        """Return the mean so far; 0.0 before the first batch."""
        return self._total / self._weight if self._weight else 0.0

    def reset_state(self) -> None:
        """Forget all batches."""
        self._total = 0.0
        self._weight = 0.0

    def __call__(self, y_true: object, y_pred: object, sample_weight: object = None) -> float:
        """Take a batch into the mean and return it."""
        self.update_state(y_true, y_pred, sample_weight)
        return self.result()

    def _add(self, values: npt.NDArray[Any], weights: Array | None) -> None:
        if weights is None:
            self._total += float(values.sum(dtype=np.float64))
            self._weight += values.size
        else:
            self._total += float((values * weights).sum(dtype=np.float64))
            self._weight += float(np.broadcast_to(weights, values.shape).sum(dtype=np.float64))


class Mean(Metric):
    """Weighted mean of plain numbers."""

    def __init__(self, name: str = "mean") -> None:
        super().__init__(name)

    def update_state(self, values: object, sample_weight: object = None) -> None:  # type: ignore[override]
        """Take numbers, with weights that broadcast to them, into the mean."""
        array = checks.numeric(values, "values")
        weights = None if sample_weight is None else checks.numeric(sample_weight, "sample_weight")
        self._add(array, weights)


class SparseCategoricalAccuracy(Metric):
    """Share of samples whose largest prediction is at the class number: labels (...) or (..., 1)."""

    def __init__(self, name: str = "sparse_categorical_accuracy") -> None:
        super().__init__(name)

    def values(self, y_true: npt.NDArray[Any], y_pred: Array) -> npt.NDArray[Any]:
        """Return 1 for each right sample; see `Metric.values`."""
        if y_true.shape == (*y_pred.shape[:-1], 1):
            y_true = y_true[..., 0]
        _same_shape(y_true.shape, y_pred.shape[:-1])
        right: npt.NDArray[Any] = y_pred.argmax(axis=-1) == y_true
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
        if (*y_true.shape, 1) == y_pred.shape:
            y_true = y_true[..., None]
        _same_shape(y_true.shape, y_pred.shape)
        share: npt.NDArray[Any] = ((y_pred > self.threshold) == y_true).mean(axis=-1)
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


class MeanMetric(Metric):
    """Running mean of a loss, without its reduction.

    Parameters
    ----------
    loss : str or Loss
        The loss.
    name : str, optional
        Key in logs; the loss's name by default.
    """

    def __init__(self, loss: object, name: str | None = None) -> None:
        self.loss = losses.get(loss)
        super().__init__(self.loss.name if name is None else name)

    def check(self, y_true: npt.NDArray[Any], shape: tuple[int, ...]) -> None:
        """Check all labels as the loss does; see `Metric.check`."""
        self.loss.prepare(y_true, shape)

    def values(self, y_true: npt.NDArray[Any], y_pred: Array) -> npt.NDArray[Any]:
        """Return each sample's loss; see `Metric.values`."""
        return self.loss.terms(self.loss.prepare(y_true, y_pred.shape), y_pred)[0]


class MeanSquaredError(MeanMetric):
    """Mean of the squared differences."""

    def __init__(self, name: str = "mean_squared_error") -> None:
        super().__init__("mean_squared_error", name)


class MeanAbsoluteError(MeanMetric):
    """Mean of the absolute differences."""

    def __init__(self, name: str = "mean_absolute_error") -> None:
        super().__init__("mean_absolute_error", name)


def _same_shape(got: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if got != expected:
        raise ValueError(f"y_true: expected shape {expected}, got {got}")


REGISTRY = Registry(
    Metric,
    {
        "accuracy": AutoAccuracy,
        "binary_accuracy": BinaryAccuracy,
        "categorical_accuracy": CategoricalAccuracy,
        "sparse_categorical_accuracy": SparseCategoricalAccuracy,
        "mean_squared_error": MeanSquaredError,
        "mean_absolute_error": MeanAbsoluteError,
        "acc": AutoAccuracy,
        "mse": MeanSquaredError,
        "mae": MeanAbsoluteError,
    },
    others=(Mean, MeanMetric),
)


def get(identifier: object, name: str = "metrics") -> Metric:
    """Return the metric that ``identifier`` means.

    Parameters
    ----------
    identifier : str or dict or Metric or type
        Keras's name (its key in logs is the name as given), a description as of `serialize`, a metric, or a
        class of one.
    name : str
        The argument's name, for the message.

    Raises
    ------
    TypeError, ValueError
        If it is unknown; the message lists the known names.
    """
    metric = REGISTRY.get(identifier, name)
    if identifier in ("acc", "mse", "mae"):
        metric.name = str(identifier)
    return metric
