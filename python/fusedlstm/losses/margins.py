"""Losses of margins. Labels are -1 and 1; where a batch has 0 and 1 only, 0 means -1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fusedlstm.losses.base import ElementLoss, Labels, NamedLoss

if TYPE_CHECKING:
    from fusedlstm.base.types import Array


class Hinge(ElementLoss):
    """Mean of ``max(1 - y_true y_pred, 0)`` over the last axis, for labels -1 and 1, or 0 and 1."""

    usual_name = "hinge"

    def elements(self, y: Array, p: Array) -> tuple[Array, Array]:
        """Return what is missing to the margin, and its derivative; see `ElementLoss.elements`."""
        if ((y == 0) | (y == 1)).all():
            y = 2 * y - 1
        missing = np.maximum(1 - y * p, 0)
        return missing, -y * (missing > 0)


class SquaredHinge(Hinge):
    """Mean of ``max(1 - y_true y_pred, 0)**2`` over the last axis, for labels -1 and 1, or 0 and 1."""

    usual_name = "squared_hinge"

    def elements(self, y: Array, p: Array) -> tuple[Array, Array]:
        """Return the square and its derivative; see `ElementLoss.elements`."""
        missing, slope = super().elements(y, p)
        return missing * missing, 2 * missing * slope


class CategoricalHinge(NamedLoss):
    """``max(1 + max((1 - y_true) y_pred) - sum(y_true y_pred), 0)`` over the last axis, for one-hot rows."""

    usual_name = "categorical_hinge"

    def terms(self, y_true: Labels, y_pred: Array) -> tuple[Array, Array]:
        """Return each sample's loss and gradient; see `Loss.terms`."""
        y = y_true.astype(y_pred.dtype, copy=False)
        others = (1 - y) * y_pred
        best = others.max(axis=-1, keepdims=True)
        missing = np.maximum(best - (y * y_pred).sum(axis=-1, keepdims=True) + 1, 0)
        at_best = (others == best).astype(y_pred.dtype)
        at_best = at_best / at_best.sum(axis=-1, keepdims=True)
        return missing[..., 0], (at_best * (1 - y) - y) * (missing > 0)
