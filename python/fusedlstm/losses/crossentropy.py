"""Cross-entropies, of probabilities or of logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import config, ops
from fusedlstm.activations import log_softmax, sigmoid, softmax
from fusedlstm.base import checks, devices
from fusedlstm.losses.base import ElementLoss, Labels, NamedLoss

if TYPE_CHECKING:
    from fusedlstm.activations import Activation
    from fusedlstm.base.types import Array


class _Crossentropy(NamedLoss):
    """What the cross-entropies share."""

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        *,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(reduction, name)
        self.from_logits = checks.flag(from_logits, "from_logits")
        self.label_smoothing = checks.share(label_smoothing, "label_smoothing")

    def _check_range(self, labels: Labels, name: str) -> None:
        wrong = (labels < 0) | (labels > 1)
        checks.none_of(wrong, labels, name, "probabilities in [0, 1]")


class BinaryCrossentropy(_Crossentropy, ElementLoss):
    """Mean of ``-y log(p) - (1 - y) log(1 - p)`` over the last axis.

    Parameters
    ----------
    from_logits : bool
        Whether predictions are logits z with ``p = sigmoid(z)``; otherwise they are p, clipped to
        [1e-7, 1 - 1e-7].
    label_smoothing : float
        In [0, 1]: labels become ``y (1 - s) + s / 2``.
    reduction, name
        As in `Loss`.
    """

    link: Activation | None = staticmethod(sigmoid)
    usual_name = "binary_crossentropy"

    def prepare(self, y_true: object, shape: tuple[int, ...], name: str = "y_true") -> Labels:
        """Check and convert labels in [0, 1]; see `Loss.prepare`."""
        labels = super().prepare(y_true, shape, name)
        self._check_range(labels, name)
        return labels

    def elements(self, y: Array, p: Array) -> tuple[Array, Array]:
        """Return the loss and its derivative; see `ElementLoss.elements`."""
        y = self._smooth(y)
        if self.from_logits:
            # Differences of large numbers are taken before the small term is added.
            return np.maximum(p, 0) - y * p + np.log1p(np.exp(-np.abs(p))), sigmoid(p) - y
        p, inside = clipped(p)
        return -(y * np.log(p) + (1 - y) * np.log(1 - p)), (p - y) / (p * (1 - p)) * inside

    def _smooth(self, y: Array) -> Array:
        if not self.label_smoothing:
            return y
        return y * (1 - self.label_smoothing) + 0.5 * self.label_smoothing


class CategoricalCrossentropy(_Crossentropy):
    """``-sum(y log(p))`` over the last axis, for labels that are one-hot rows or other probabilities.

    Parameters
    ----------
    from_logits : bool
        Whether predictions are logits z with ``p = softmax(z)``; otherwise they are divided by their sum and
        clipped to [1e-7, 1 - 1e-7].
    label_smoothing : float
        In [0, 1]: labels become ``y (1 - s) + s / C``.
    reduction, name
        As in `Loss`.
    """

    link: Activation | None = staticmethod(softmax)
    usual_name = "categorical_crossentropy"

    def prepare(self, y_true: object, shape: tuple[int, ...], name: str = "y_true") -> Labels:
        """Check and convert labels in [0, 1]; see `Loss.prepare`."""
        labels = checks.numeric(y_true, name)
        if labels.shape != shape:
            hint = "; for class numbers use sparse_categorical_crossentropy"
            raise ValueError(f"{name}: expected shape {shape} like the predictions, got {labels.shape}{hint}")
        checks.finite(labels, name)
        self._check_range(labels, name)
        return labels

    def terms(self, y_true: Labels, y_pred: Array) -> tuple[Array, Array]:
        """Return each sample's loss and gradient; see `Loss.terms`."""
        y = y_true.astype(y_pred.dtype, copy=False)
        if self.label_smoothing:
            y = y * (1 - self.label_smoothing) + self.label_smoothing / y.shape[-1]
        if self.from_logits:
            return self.of_logits(y, y_pred)
        total = y_pred.sum(axis=-1, keepdims=True)
        share = y_pred / total
        losses, dshare = self.of_shares(y, share)
        return losses, (dshare - (dshare * share).sum(axis=-1, keepdims=True)) / total

    def of_logits(self, y: Array, z: Array) -> tuple[Array, Array]:
        """Return the loss, and its derivatives by the logits."""
        log_p = log_softmax(z)
        return -(y * log_p).sum(axis=-1), np.exp(log_p) * y.sum(axis=-1, keepdims=True) - y

    def of_shares(self, y: Array, share: Array) -> tuple[Array, Array]:
        """Return the loss, and its derivatives by probabilities whose sum is 1."""
        p, inside = clipped(share)
        return -(y * np.log(p)).sum(axis=-1), -y / p * inside


class SparseCategoricalCrossentropy(_Crossentropy):
    """``-log(p[label])``, for labels that are class numbers in [0, C).

    Parameters
    ----------
    from_logits : bool
        Whether predictions are logits z with ``p = softmax(z)``; otherwise they are divided by their sum and
        clipped to [1e-7, 1 - 1e-7].
    reduction, name
        As in `Loss`.
    """

    link: Activation | None = staticmethod(softmax)
    usual_name = "sparse_categorical_crossentropy"

    def __init__(
        self,
        from_logits: bool = False,
        *,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(from_logits, reduction=reduction, name=name)

    def prepare(self, y_true: object, shape: tuple[int, ...], name: str = "y_true") -> Labels:
        """Check class numbers, shaped like the predictions without the last axis (or with 1 there).

        Returns
        -------
        ndarray of intp, shape (..., 1)
            The class numbers.
        """
        labels = checks.numeric(y_true, name)
        if labels.shape == shape[:-1]:
            labels = labels[..., None]
        elif labels.shape != (*shape[:-1], 1):
            hint = "; for one-hot rows use categorical_crossentropy" if labels.shape == shape else ""
            expected = f"class numbers of shape {shape[:-1]} or {(*shape[:-1], 1)}"
            raise ValueError(f"{name}: expected {expected}, got shape {labels.shape}{hint}")
        checks.finite(labels, name)
        numbers = labels.astype(np.intp)
        wrong = (numbers < 0) | (numbers >= shape[-1])
        if labels.dtype.kind == "f":
            wrong |= numbers != labels
        if wrong.any():
            place = checks.first_place(wrong)
            raise ValueError(
                f"{name}: expected whole class numbers in [0, {shape[-1]}), "
                f"got {labels[place]} at index {place[:-1]}"
            )
        return numbers

    def terms(self, y_true: Labels, y_pred: Array) -> tuple[Array, Array]:
        """Return each sample's loss and gradient; see `Loss.terms`."""
        return self.scaled_terms(y_true, y_pred, None)

    def scaled_terms(self, y_true: Labels, y_pred: Array, factor: Any) -> tuple[Array, Array]:
        """Return each sample's loss and scaled gradient; see `Loss.scaled_terms`."""
        if self.from_logits and type(y_pred) is np.ndarray and y_pred.shape[-1] >= _MANY_CLASSES:
            return _of_many_classes(y_true, y_pred, factor)
        losses, gradients = self._few_classes(y_true, y_pred)
        return losses, gradients if factor is None else gradients * factor

    def _few_classes(self, y_true: Labels, y_pred: Array) -> tuple[Array, Array]:
        own = _places(y_true, y_pred.shape[-1])
        if self.from_logits:
            log_p = devices.contiguous(log_softmax(y_pred))
            gradients = np.exp(log_p)
            gradients.reshape(-1)[own] -= 1
            return -log_p.reshape(-1)[own].reshape(y_true.shape[:-1]), gradients
        total = y_pred.sum(axis=-1, keepdims=True)
        share = devices.contiguous(y_pred).reshape(-1)[own].reshape(y_true.shape) / total
        p, inside = clipped(share)
        gradients = np.broadcast_to(inside / total, y_pred.shape).copy()
        gradients.reshape(-1)[own] -= (inside / (p * total)).reshape(-1)
        return -np.log(p)[..., 0], gradients


def _of_many_classes(classes: Labels, logits: Array, factor: Any) -> tuple[Array, Array]:
    """Return the losses and scaled gradients of logits by the kernel of the CTC loss, in one pass over them.

    A sequence of one step reads as one label if that step has its class, and as none if it has the blank's:
    so its loss is this one.
    """
    rows = logits.reshape(-1, 1, logits.shape[-1])
    labels = classes.reshape(-1, 1)
    lengths = np.count_nonzero(labels, axis=1)  # class 0 is the blank
    weights = None
    if factor is not None:
        weights = np.ascontiguousarray(np.broadcast_to(factor, classes.shape).reshape(-1))
    losses, gradients = ops.ctc_loss(rows, labels, None, lengths, row_weights=weights)
    assert gradients is not None
    impossible = np.flatnonzero(np.isinf(losses))
    if len(impossible):  # CTC has no gradient there; here it still leads to the label.
        slopes = np.exp(log_softmax(rows[impossible, 0]))
        slopes[np.arange(len(impossible)), labels[impossible, 0]] -= 1
        gradients[impossible, 0] = slopes if weights is None else slopes * weights[impossible, None]
    return losses.reshape(classes.shape[:-1]), gradients.reshape(logits.shape)


# From so many on, the kernel is faster than NumPy's passes.
_MANY_CLASSES = 256


def _places(classes: Labels, count: int) -> Labels:
    """Where each row's class lies in an array (..., count) in C order, its axes made one."""
    flat = classes.reshape(-1)
    # Device arrays come without an arange of their own; take_along_axis is slower, and puts nothing there.
    rows = np.arange(flat.size) if type(flat) is np.ndarray else np.cumsum(np.ones_like(flat)) - 1
    places: Labels = rows * count + flat
    return places


def clipped(p: Array) -> tuple[Array, Array]:
    """Probabilities clipped as Keras does, and 1 where the clipping changed nothing, 0 elsewhere."""
    low, high = config.epsilon(), 1 - config.epsilon()
    clipped = np.clip(p, low, high)
    return clipped, (clipped == p).astype(p.dtype)
