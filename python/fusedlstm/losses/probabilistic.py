"""Losses of predicted distributions, apart from cross-entropies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fusedlstm import config
from fusedlstm.losses.base import ElementLoss, Labels, NamedLoss

if TYPE_CHECKING:
    from fusedlstm.base.types import Array


class KLDivergence(NamedLoss):
    """``sum(y_true log(y_true / y_pred))`` over the last axis, both clipped to [1e-7, 1]."""

    usual_name = "kl_divergence"

    def terms(self, y_true: Labels, y_pred: Array) -> tuple[Array, Array]:
        """Return each sample's loss and gradient; see `Loss.terms`."""
        y = np.clip(y_true.astype(y_pred.dtype, copy=False), config.epsilon(), 1)
        p = np.clip(y_pred, config.epsilon(), 1)
        return (y * np.log(y / p)).sum(axis=-1), -y / p * (p == y_pred)


class Poisson(ElementLoss):
    """Mean of ``y_pred - y_true log(y_pred + 1e-7)`` over the last axis."""

    usual_name = "poisson"

    def elements(self, y: Array, p: Array) -> tuple[Array, Array]:
        """Return the loss and its derivative; see `ElementLoss.elements`."""
        shifted = p + config.epsilon()
        return p - y * np.log(shifted), 1 - y / shifted
