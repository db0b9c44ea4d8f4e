"""What all losses share: checks, reduction, sample weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from fusedlstm import config
from fusedlstm.base import checks
from fusedlstm.base.names import checked_name
from fusedlstm.base.registry import Configured

if TYPE_CHECKING:
    from fusedlstm.activations import Activation
    from fusedlstm.base.types import Array, Mask

Labels: TypeAlias = npt.NDArray[Any]
_REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none")


class Loss(Configured):
    """Base of losses. A subclass defines `terms`, and `prepare` if labels are not shaped like predictions.

    Parameters
    ----------
    name : str, optional
        Name; the class's by default.
    reduction : {"sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none"} or None
        ``mean`` is ``sum_over_batch_size``, which divides by the number of samples whatever they weigh;
        ``mean_with_sample_weight`` divides by the sum of their weights. None is ``none``, which cannot be
        trained with.

    Attributes
    ----------
    link : callable or None
        The activation which, as the last one of a model, is trained together with this loss: `for_logits`.
    """

    link: Activation | None = None
    from_logits = True

    def __init__(self, name: str | None = None, reduction: str | None = "sum_over_batch_size") -> None:
        self.name = checked_name(type(self).__name__ if name is None else name)
        self.reduction = checks.choice("none" if reduction is None else reduction, "reduction", _REDUCTIONS)

    def terms(self, y_true: Labels, y_pred: Array) -> tuple[Array, Array]:
        """Return the loss of each sample and the gradient of each of these.

        Parameters
        ----------
        y_true : ndarray
            `prepare`'s result, or rows of it.
        y_pred : ndarray, shape (..., C)
            Predictions.

        Returns
        -------
        losses : ndarray, shape (...)
            Loss of each sample.
        gradients : ndarray, shape (..., C)
            Derivative of the sample's own loss.
        """
        raise NotImplementedError(f"{type(self).__name__} must define terms")

    def prepare(self, y_true: object, shape: tuple[int, ...], name: str = "y_true") -> Labels:
        """Check labels against the predictions' shape and convert them; nothing of it depends on weights.

        Parameters
        ----------
        y_true : array_like
            Labels of ``shape``; a last axis of length 1 may be missing or extra.
        shape : tuple
            Shape of the predictions.
        name : str
            The argument's name, for messages.

        Raises
        ------
        TypeError, ValueError
            If dtype or shape is wrong or a label is not finite.
        """
        labels = like_predictions(checks.numeric(y_true, name), shape, name)
        checks.finite(labels, name)
        return labels

    def shape_for(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the samples' losses for predictions of ``shape``."""
        return shape[:-1]

    def for_logits(self) -> Loss:
        """Return this loss for predictions to which `link` has not been applied: exact, without clipping."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__, from_logits=True)
        return twin

    def __call__(self, y_true: object, y_pred: object, sample_weight: object = None) -> Any:
        """Compute the loss.

        Parameters
        ----------
        y_true : array_like
            Labels.
        y_pred : array_like, shape (..., C)
            Predictions.
        sample_weight : array_like, optional
            Weight of each sample, shape (B,) or that of the samples' losses.

        Returns
        -------
        float or ndarray
            One number, or one per sample where the reduction is ``none``.
        """
        labels, predictions = self._arguments(y_true, y_pred)
        losses, _ = self.terms(labels, predictions)
        weights = prepare_weights(sample_weight, losses.shape)
        count = self._count(losses.shape, weights)
        if weights is not None:
            losses = losses * weights
        return losses if self.reduction == "none" else self._reduced(losses, count)

    def gradient(self, y_true: object, y_pred: object, sample_weight: object = None) -> Array:
        """Return the gradient of the reduced loss, shaped like ``y_pred``; parameters as in a call.

        Raises
        ------
        ValueError
            If the reduction is ``none``: several numbers have no gradient.
        """
        labels, predictions = self._arguments(y_true, y_pred)
        weights = prepare_weights(sample_weight, self.shape_for(predictions.shape))
        return self.value_and_gradient(labels, predictions, weights)[1]

    def value_and_gradient(
        self,
        y_true: Labels,
        y_pred: Array,
        weights: Array | None = None,
        mask: Mask | None = None,
        samples: int | None = None,
    ) -> tuple[float, Array]:
        """Return the reduced loss and its gradient for arguments that were prepared already.

        With a mask (B, T), only steps where it is True count, in means too. With ``samples``, these are some
        of so many samples, and what is returned their share of all samples' loss: the shares' sum is that
        loss, where there is a mask up to the factor of all steps by real ones, which no share knows.
        """
        by_weight = self._by_weight(weights is not None or mask is not None, samples)
        shape = self.shape_for(y_pred.shape)
        if mask is not None:
            # As in Keras: sums over real steps, which a mean over all steps turns into their mean.
            real_share = max(1, int(np.count_nonzero(mask))) / max(1, mask.size)
            share = 1.0 if self.reduction == "sum" or by_weight or samples is not None else real_share
            real = (mask / share).reshape(mask.shape + (1,) * (len(shape) - mask.ndim))
            weights = real if weights is None else weights * real
        count = self._count(shape, weights)
        if samples is not None:
            count = max(1, math.prod(shape[1:]) * samples)
        factor: Any = y_pred.dtype.type(self._factor(count))
        if weights is not None:
            factor = (factor * weights[..., None]).astype(y_pred.dtype, copy=False)
        losses, gradients = self.scaled_terms(y_true, y_pred, factor)
        if weights is not None:
            losses = losses * weights
        return self._reduced(losses, count), gradients

    def scaled_terms(self, y_true: Labels, y_pred: Array, factor: Any) -> tuple[Array, Array]:
        """Return each sample's loss, and its gradient times a factor: a number, or an array (..., 1)."""
        losses, gradients = self.terms(y_true, y_pred)
        return losses, gradients * factor

    def _by_weight(self, weighted: bool, samples: int | None) -> bool:
        """Tell whether a mean divides by what samples weigh, for a reduction that can be trained with."""
        if self.reduction == "none":
            raise ValueError("reduction: expected one that gives a single number, got 'none'")
        by_weight = self.reduction == "mean_with_sample_weight" and weighted
        if by_weight and samples is not None:
            raise ValueError(
                "reduction: expected one other than 'mean_with_sample_weight' where gradients of several "
                "batches are summed: what all samples weigh is known after the last"
            )
        return by_weight

    def _count(self, shape: tuple[int, ...], weights: Array | None) -> float:
        """Return what a mean of losses of a shape divides by; 0 where all weights are, which makes it 0."""
        if self.reduction != "mean_with_sample_weight" or weights is None:
            return max(1, math.prod(shape))
        return float(np.broadcast_to(weights, shape).sum(dtype=np.float64))

    def _factor(self, count: float) -> float:
        """Return the factor of a loss in the reduced one."""
        return 1.0 if self.reduction == "sum" else 1.0 / count if count else 0.0

    def _reduced(self, losses: Array, count: float) -> float:
        total = float(losses.sum(dtype=np.float64))
        if self.reduction == "sum":
            return total
        return total / count if count else 0.0

    def _arguments(self, y_true: object, y_pred: object) -> tuple[Labels, Array]:
        predictions = prepare_predictions(y_pred)
        return self.prepare(y_true, predictions.shape), predictions


class NamedLoss(Loss):
    """Base of Keras's losses: arguments in Keras's order, and a name where none is asked for."""

    usual_name: ClassVar[str]

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str | None = None) -> None:
        super().__init__(self.usual_name if name is None else name, reduction)


class ElementLoss(NamedLoss):
    """Base of losses that are means over the last axis of a function of one label and one prediction."""

    def elements(self, y: Array, p: Array) -> tuple[Array, Array]:
        """Return the function's values and derivatives, for arrays of one shape and dtype."""
        raise NotImplementedError(f"{type(self).__name__} must define elements")

    def terms(self, y_true: Labels, y_pred: Array) -> tuple[Array, Array]:
        """Return each sample's loss and gradient; see `Loss.terms`."""
        losses, gradients = self.elements(y_true.astype(y_pred.dtype, copy=False), y_pred)
        return losses.mean(axis=-1), gradients * (1 / y_pred.shape[-1])


def prepare_predictions(y_pred: object) -> Array:
    """Return predictions as an array of floating-point numbers; TypeError, ValueError if they are none."""
    predictions = checks.numeric(y_pred, "y_pred")
    if predictions.dtype.kind != "f" or predictions.dtype.itemsize < 4:
        predictions = predictions.astype(config.floatx())
    if predictions.ndim == 0:
        raise ValueError(f"y_pred: expected at least 1 axis, got the single number {predictions}")
    return predictions


def like_predictions(labels: Labels, shape: tuple[int, ...], name: str = "y_true") -> Labels:
    """Return labels of the predictions' shape; a last axis of length 1 may be missing or extra."""
    if labels.shape == shape:
        return labels
    if (*labels.shape, 1) == shape:
        return labels[..., None]
    if labels.shape == (*shape, 1):
        return labels[..., 0]
    raise ValueError(f"{name}: expected shape {shape} like the predictions, got {labels.shape}")


def prepare_weights(
    sample_weight: object, shape: tuple[int, ...], name: str = "sample_weight"
) -> Array | None:
    """Return sample weights shaped so that they multiply losses of ``shape``; None stays None.

    Last axes of length 1 that the losses do not have are left out, as Keras does.

    Raises
    ------
    TypeError, ValueError
        If dtype or shape is wrong or a weight is not finite.
    """
    if sample_weight is None:
        return None
    weights = checks.numeric(sample_weight, name)
    while weights.ndim > 1 and weights.shape[-1] == 1 and weights.shape != shape[: weights.ndim]:
        weights = weights[..., 0]
    if not 0 < weights.ndim <= len(shape) or weights.shape != shape[: weights.ndim]:
        allowed = " or ".join(str(shape[:n]) for n in range(1, len(shape) + 1))
        raise ValueError(f"{name}: expected shape {allowed}, got {weights.shape}")
    checks.finite(weights, name)
    return weights.reshape(weights.shape + (1,) * (len(shape) - weights.ndim))
