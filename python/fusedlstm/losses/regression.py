"""Losses of real-valued predictions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fusedlstm import config
from fusedlstm.base import checks
from fusedlstm.losses.base import ElementLoss, Labels, NamedLoss

if TYPE_CHECKING:
    from fusedlstm.base.types import Array


class MeanSquaredError(ElementLoss):
    """Mean of ``(y_pred - y_true)**2`` over the last axis."""

    usual_name = "mean_squared_error"

    def elements(self, y: Array, p: Array) -> tuple[Array, Array]:
        """Return the square and its derivative; see `ElementLoss.elements`."""
        difference = p - y
        return difference * difference, difference + difference


class MeanAbsoluteError(ElementLoss):
    """Mean of ``abs(y_pred - y_true)`` over the last axis."""

    usual_name = "mean_absolute_error"

    def elements(self, y: Array, p: Array) -> tuple[Array, Array]:
        """Return the distance and its derivative; see `ElementLoss.elements`."""
        difference = p - y
        return np.abs(difference), np.sign(difference)


class MeanAbsolutePercentageError(ElementLoss):
    """Mean of ``100 abs(y_pred - y_true) / max(abs(y_true), 1e-7)`` over the last axis."""

    usual_name = "mean_absolute_percentage_error"

    def elements(self, y: Array, p: Array) -> tuple[Array, Array]:
        """Return the percentage and its derivative; see `ElementLoss.elements`."""
        difference = p - y
        factor = 100 / np.maximum(np.abs(y), config.epsilon())
        return np.abs(difference) * factor, np.sign(difference) * factor


class MeanSquaredLogarithmicError(ElementLoss):
    """Mean of ``(log(1 + y_pred) - log(1 + y_true))**2`` over the last axis; below 1e-7, both are 1e-7."""

    usual_name = "mean_squared_logarithmic_error"

    def elements(self, y: Array, p: Array) -> tuple[Array, Array]:
        """Return the square and its derivative; see `ElementLoss.elements`."""
        low = config.epsilon()
        shifted = np.maximum(p, low) + 1
        difference = np.log(shifted) - np.log(np.maximum(y, low) + 1)
        return difference * difference, 2 * difference / shifted * (p >= low)


class Huber(ElementLoss):
    """Mean over the last axis of what is a square near 0 and linear from ``delta`` on.

    With ``d = abs(y_pred - y_true)`` it is ``d**2 / 2`` or, where d is larger, ``delta (d - delta / 2)``.

    Parameters
    ----------
    delta : float
        Positive.
    reduction, name
        As in `Loss`.
    """

    usual_name = "huber_loss"

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(reduction, name)
        self.delta = checks.positive(delta, "delta")

    def elements(self, y: Array, p: Array) -> tuple[Array, Array]:
        """Return the loss and its derivative; see `ElementLoss.elements`."""
        difference = p - y
        slope = np.clip(difference, -self.delta, self.delta)
        return slope * (difference - 0.5 * slope), slope


class LogCosh(ElementLoss):
    """Mean of ``log(cosh(y_pred - y_true))`` over the last axis."""

    usual_name = "log_cosh"

    def elements(self, y: Array, p: Array) -> tuple[Array, Array]:
        """Return the loss and its derivative; see `ElementLoss.elements`."""
        difference = p - y
        distance = np.abs(difference)
        return distance + np.log1p(np.exp(-2 * distance)) - math.log(2), np.tanh(difference)


class CosineSimilarity(NamedLoss):
    """Cosine of the angle between labels and predictions, negated: -1 where they point the same way.

    Parameters
    ----------
    axis : int
        The last axis, as -1 or by its number.
    reduction, name
        As in `Loss`.
    """

    usual_name = "cosine_similarity"

    def __init__(
        self,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(reduction, name)
        self.axis = checks.integer(axis, "axis")

    def prepare(self, y_true: object, shape: tuple[int, ...], name: str = "y_true") -> Labels:
        """Check labels and ``axis``; see `Loss.prepare`."""
        if self.axis not in (-1, len(shape) - 1):
            raise ValueError(f"axis: expected the last one of predictions of shape {shape}, got {self.axis}")
        return super().prepare(y_true, shape, name)

    def terms(self, y_true: Labels, y_pred: Array) -> tuple[Array, Array]:
        """Return each sample's loss and gradient; see `Loss.terms`."""
        y, _ = _normalized(y_true.astype(y_pred.dtype, copy=False))
        p, factor = _normalized(y_pred)
        cosine = (y * p).sum(axis=-1, keepdims=True)
        # Vectors too short to be made one long are only multiplied by a constant.
        turns = factor < 1 / config.epsilon()
        return -cosine[..., 0], (turns * cosine * p - y) * factor


def _normalized(x: Array) -> tuple[Array, Array]:
    """Vectors of length 1 as Keras makes them, and by which factors, at most 1e7."""
    with np.errstate(divide="ignore"):
        factor = np.minimum(1 / np.sqrt((x * x).sum(axis=-1, keepdims=True)), 1 / config.epsilon())
    return x * factor, factor
