"""Losses of real-valued predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fusedlstm.losses.base import Labels, Loss

if TYPE_CHECKING:
    from fusedlstm.base.types import Array


class MeanSquaredError(Loss):
    """Mean of ``(y_pred - y_true)**2`` over the last axis."""

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str = "mean_squared_error"
    ) -> None:
        super().__init__(name, reduction)

    def terms(self, y_true: Labels, y_pred: Array) -> tuple[Array, Array]:
        """Return each sample's loss and gradient; see `Loss.terms`."""
        difference = y_pred - y_true.astype(y_pred.dtype, copy=False)
        return (difference * difference).mean(axis=-1), difference * (2 / y_pred.shape[-1])


class MeanAbsoluteError(Loss):
    """Mean of ``abs(y_pred - y_true)`` over the last axis."""

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str = "mean_absolute_error"
    ) -> None:
        super().__init__(name, reduction)

    def terms(self, y_true: Labels, y_pred: Array) -> tuple[Array, Array]:
        """Return each sample's loss and gradient; see `Loss.terms`."""
        difference = y_pred - y_true.astype(y_pred.dtype, copy=False)
        return np.abs(difference).mean(axis=-1), np.sign(difference) * (1 / y_pred.shape[-1])
