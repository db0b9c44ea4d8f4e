"""Means of losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from fusedlstm import losses
from fusedlstm.metrics.base import MeanMetric

if TYPE_CHECKING:
    import numpy.typing as npt

    from fusedlstm.base.types import Array


class LossMetric(MeanMetric):
    """Base of means of a loss without arguments.

    Parameters
    ----------
    name : str, optional
        Key in logs; that of the loss by default.
    """

    kind: ClassVar[type[losses.Loss]]

    def __init__(self, name: str | None = None) -> None:
        super().__init__(self.kind, name)


class MeanSquaredError(LossMetric):
    """Mean of the squared differences."""

    kind = losses.MeanSquaredError


class MeanAbsoluteError(LossMetric):
    """Mean of the absolute differences."""

    kind = losses.MeanAbsoluteError


class MeanAbsolutePercentageError(LossMetric):
    """Mean of `losses.MeanAbsolutePercentageError`."""

    kind = losses.MeanAbsolutePercentageError


class MeanSquaredLogarithmicError(LossMetric):
    """Mean of `losses.MeanSquaredLogarithmicError`."""

    kind = losses.MeanSquaredLogarithmicError


class LogCoshError(LossMetric):
    """Mean of `losses.LogCosh`."""

    kind = losses.LogCosh

    def __init__(self, name: str = "logcosh") -> None:
        super().__init__(name)


class KLDivergence(LossMetric):
    """Mean of `losses.KLDivergence`."""

    kind = losses.KLDivergence


class Poisson(LossMetric):
    """Mean of `losses.Poisson`."""

    kind = losses.Poisson


class Hinge(LossMetric):
    """Mean of `losses.Hinge`."""

    kind = losses.Hinge


class SquaredHinge(LossMetric):
    """Mean of `losses.SquaredHinge`."""

    kind = losses.SquaredHinge


class CategoricalHinge(LossMetric):
    """Mean of `losses.CategoricalHinge`."""

    kind = losses.CategoricalHinge


class CosineSimilarity(MeanMetric):
    """Mean cosine of the angle between labels and predictions, 1 where they point the same way.

    Parameters
    ----------
    name : str
        Key in logs.
    axis : int
        The last axis, as -1 or by its number.
    """

    def __init__(self, name: str = "cosine_similarity", axis: int = -1) -> None:
        super().__init__(losses.CosineSimilarity(axis), name)
        self.axis = axis

    def values(self, y_true: npt.NDArray[Any], y_pred: Array) -> npt.NDArray[Any]:
        """Return each sample's cosine; see `Metric.values`."""
        return -super().values(y_true, y_pred)


class _Crossentropy(MeanMetric):
    """Mean of a cross-entropy.

    Parameters
    ----------
    name : str, optional
        Key in logs; that of the loss by default.
    from_logits, label_smoothing
        As of the loss.
    """

    kind: ClassVar[type[losses.BinaryCrossentropy | losses.CategoricalCrossentropy]]

    def __init__(
        self, name: str | None = None, from_logits: bool = False, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(self.kind(from_logits, label_smoothing), name)
        self.from_logits, self.label_smoothing = from_logits, label_smoothing


class BinaryCrossentropy(_Crossentropy):
    """Mean of `losses.BinaryCrossentropy`."""

    kind = losses.BinaryCrossentropy


class CategoricalCrossentropy(_Crossentropy):
    """Mean of `losses.CategoricalCrossentropy`."""

    kind = losses.CategoricalCrossentropy


class SparseCategoricalCrossentropy(MeanMetric):
    """Mean of `losses.SparseCategoricalCrossentropy`."""

    def __init__(self, name: str | None = None, from_logits: bool = False) -> None:
        super().__init__(losses.SparseCategoricalCrossentropy(from_logits), name)
        self.from_logits = from_logits
