"""Connectionist temporal classification of sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fusedlstm import ops
from fusedlstm.base import checks, devices
from fusedlstm.losses.base import Labels, Loss

if TYPE_CHECKING:
    from fusedlstm.base.types import Array, Mask


class CTC(Loss):
    """Minus the logarithm of the probability that a sequence's steps read as its labels; `ops.ctc_loss`.

    There is one loss per sequence, and with it one sample weight. Predictions (B, T, C) are logits, class 0
    is the blank, and labels (B, L) are class numbers filled up with 0 on the right. A mask of the predictions
    says how many steps a sequence has; its padding must be on the right. The loss of labels that the steps
    cannot read as is infinite, and without a gradient.

    Parameters
    ----------
    reduction, name
        As in `Loss`.
    """

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str | None = "ctc") -> None:
        super().__init__(name, reduction)

    def shape_for(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the losses, (B,)."""
        return shape[:1]

    def prepare(self, y_true: object, shape: tuple[int, ...], name: str = "y_true") -> Labels:
        """Check class numbers (B, L), 0 from the end of a row's labels on.

        Returns
        -------
        ndarray of int64, shape (B, L)
        """
        if len(shape) != 3:
            raise ValueError(f"y_pred: expected predictions (B, T, C) for {self.name}, got shape {shape}")
        labels = checks.ids(y_true, name, shape[2])
        if labels.ndim != 2 or len(labels) != shape[0]:
            raise ValueError(f"{name}: expected shape ({shape[0]}, L), got {labels.shape}")
        behind = (labels[:, 1:] != 0) & (labels[:, :-1] == 0)
        if bool(np.any(behind)):
            row, place = checks.first_place(behind)
            raise ValueError(
                f"{name}: expected labels before the zeros that fill up a row, "
                f"got {labels[row, place + 1]} behind a 0 at index {(row, place + 1)}"
            )
        return labels

    def terms(self, y_true: Labels, y_pred: Array) -> tuple[Array, Array]:
        """Return each sequence's loss and gradient; see `Loss.terms`."""
        return self._losses(y_true, y_pred)

    def value_and_gradient(
        self,
        y_true: Labels,
        y_pred: Array,
        weights: Array | None = None,
        mask: Mask | None = None,
        samples: int | None = None,
    ) -> tuple[float, Array]:
        """Return the reduced loss and its gradient; see `Loss.value_and_gradient`. A mask shortens sequences.

        Raises
        ------
        ValueError
            If the mask has padding before a real step.
        """
        self._by_weight(weights is not None, samples)
        count = self._count(y_pred.shape[:1], weights) if samples is None else samples
        factors: Array = devices.beside(np.full(len(y_pred), self._factor(count), y_pred.dtype), y_pred)
        if weights is not None:
            factors = (factors * weights).astype(y_pred.dtype, copy=False)
        losses, gradient = self._losses(y_true, y_pred, mask, factors)
        if weights is not None:
            # A row without weight adds nothing, and its loss may be infinite.
            losses = np.where(weights == 0, losses.dtype.type(0), losses) * weights
        return self._reduced(losses, count), gradient

    def _losses(
        self, labels: Labels, logits: Array, mask: Mask | None = None, factors: Array | None = None
    ) -> tuple[Array, Array]:
        steps = None if mask is None else _steps(mask, self.name)
        counts = np.count_nonzero(labels, axis=1)
        losses, gradient = ops.ctc_loss(logits, labels, steps, counts, row_weights=factors)
        assert gradient is not None
        return losses, gradient


def _steps(mask: Mask, name: str) -> Labels:
    """Count the real steps of each sequence, all of which have to come first."""
    late = mask[:, 1:] & ~mask[:, :-1]
    if bool(np.any(late)):
        row, step = checks.first_place(late)
        raise ValueError(
            f"mask: expected padding on the right alone for {name}, "
            f"got a real step behind padding at index {(row, step + 1)}"
        )
    counts: Labels = np.count_nonzero(mask, axis=1)
    return counts
