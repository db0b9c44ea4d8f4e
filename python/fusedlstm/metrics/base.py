"""Running means, and what all metrics share."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from fusedlstm import config, losses
from fusedlstm.base import checks
from fusedlstm.base.names import checked_name, name_of
from fusedlstm.base.registry import Configured
from fusedlstm.losses.base import prepare_predictions, prepare_weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusedlstm.base.types import Array, Mask


class Metric(Configured):
    """Base of metrics: a mean of numbers that `values` gives for each sample.

    Parameters
    ----------
    name : str, optional
        Key in logs and histories; the class's name by default.

    Attributes
    ----------
    takes_mask : bool
        Whether masked steps of a model's output count nothing. As in Keras, means of one number for each step
        leave them out, and other metrics count all steps.
    sums : tuple of str
        Names of the attributes that batches are added to: numbers and arrays whose sums over the ranks of a
        shared training are those of the whole. A class with a `reset_state` of its own names its own.
    """

    takes_mask: ClassVar[bool] = True
    sums: ClassVar[tuple[str, ...]] = ("_total", "_weight")

    def __init__(self, name: str | None = None) -> None:
        self.name = checked_name(type(self).__name__ if name is None else name)
        # A class of the user's may not be ready to be reset before its attributes are made.
        Metric.reset_state(self)

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
        values = self.values(checks.numeric(y_true, "y_true"), prepare_predictions(y_pred))
        self._add(values, prepare_weights(sample_weight, values.shape))

    def update_masked(
        self, y_true: object, y_pred: object, mask: Mask | None, sample_weight: Any = None
    ) -> None:
        """Take a batch of a model's output in, without its masked steps where the metric `takes_mask`.

        Parameters
        ----------
        y_true, y_pred
            As of `update_state`.
        mask : array of bool, shape (B, T), optional
            Where steps are real.
        sample_weight : array, optional
            As of `update_state`, or as `fusedlstm.losses.base.prepare_weights` returns them.
        """
        if mask is not None and self.takes_mask:
            if sample_weight is None:
                sample_weight = mask
            else:
                axes = max(mask.ndim, sample_weight.ndim)
                weights, real = (a.reshape(a.shape + (1,) * (axes - a.ndim)) for a in (sample_weight, mask))
                sample_weight = weights * real
        self.update_state(y_true, y_pred, sample_weight)

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

    def result(self) -> Any:
        """Return the mean so far, a float; 0.0 before the first batch."""
        return self._total / self._weight if self._weight else 0.0

    def reset_state(self) -> None:
        """Forget all batches."""
        self._total = 0.0
        self._weight = 0.0

    def get_state(self) -> dict[str, Any]:
        """Return what `set_state` goes on from inside of an epoch: attributes of plain Python and NumPy.

        A metric that keeps anything else, but metrics, between batches overrides both.
        """
        state = {name: value for name, value in vars(self).items() if _is_plain(value)}
        inner = {name: value for name, value in vars(self).items() if isinstance(value, Metric)}
        return {**state, **{name: value.get_state() for name, value in inner.items()}}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on where `get_state` was called."""
        for name, value in state.items():
            own = getattr(self, name, None)
            if isinstance(own, Metric):
                own.set_state(value)
            else:
                setattr(self, name, value)

    def __call__(self, y_true: object, y_pred: object, sample_weight: object = None) -> Any:
        """Take a batch into the mean and return it."""
        self.update_state(y_true, y_pred, sample_weight)
        return self.result()

    def _add(self, values: npt.NDArray[Any], weights: Array | None) -> None:
        # As in Keras, a sample counts once however many numbers it has: batches may differ in their steps.
        counted_once = values.shape[1:] if weights is None or weights.ndim else values.shape
        numbers = max(1, math.prod(counted_once))
        if weights is None:
            self._total += float(values.sum(dtype=np.float64)) / numbers
            self._weight += values.size / numbers
        else:
            self._total += float((values * weights).sum(dtype=np.float64)) / numbers
            self._weight += float(np.broadcast_to(weights, values.shape).sum(dtype=np.float64)) / numbers


class StateMetric(Metric):
    """Base of metrics that are more than a mean: `update_state`, `result`, `reset_state` are theirs."""

    takes_mask = False

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.reset_state()

    def check(self, y_true: npt.NDArray[Any], shape: tuple[int, ...]) -> None:
        """Try the first sample with zeros on a copy; see `Metric.check`."""
        if type(y_true) is np.ndarray:
            twin = copy.copy(self)
            twin.reset_state()
            twin.update_state(y_true[:1], np.zeros((1, *shape[1:]), config.floatx()))


class Mean(Metric):
    """Weighted mean of plain numbers."""

    def __init__(self, name: str = "mean") -> None:
        super().__init__(name)

    def update_state(self, values: object, sample_weight: object = None) -> None:  # type: ignore[override]
        """Take numbers into the mean, with one weight, or one for each entry of their first axes."""
        array = checks.numeric(values, "values")
        weights = None if sample_weight is None else checks.numeric(sample_weight, "sample_weight")
        if weights is not None and weights.ndim:
            weights = prepare_weights(weights, array.shape)
        self._add(array, weights)


class Sum(Mean):
    """Weighted sum of plain numbers."""

    def __init__(self, name: str = "sum") -> None:
        super().__init__(name)

    def result(self) -> Any:
        """Return the sum so far, a float."""
        return self._total

    def _add(self, values: npt.NDArray[Any], weights: Array | None) -> None:
        self._total += float((values if weights is None else values * weights).sum(dtype=np.float64))


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


class MeanMetricWrapper(Metric):
    """Running mean of what a function returns; `get` makes this of one.

    Parameters
    ----------
    fn : callable
        ``fn(y_true, y_pred, **kwargs)`` returns numbers, shape (...) for predictions (..., C), or fewer axes.
    name : str, optional
        Key in logs; the function's name by default.
    **kwargs
        Handed to the function.
    """

    def __init__(self, fn: Callable[..., Any], name: str | None = None, **kwargs: Any) -> None:
        if not callable(fn):
            raise TypeError(f"fn: expected a function of y_true and y_pred, got {fn!r:.80}")
        super().__init__(name_of(fn) if name is None else name)
        self.fn, self.kwargs = fn, kwargs

    def values(self, y_true: npt.NDArray[Any], y_pred: Array) -> npt.NDArray[Any]:
        """Return what the function does; see `Metric.values`."""
        return checks.numeric(self.fn(y_true, y_pred, **self.kwargs), f"metrics: result of {self.name}")


def _is_plain(value: object) -> bool:
    """Tell whether a value is made of numbers, strings and real arrays alone."""
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind in "biuf"
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, [*value, *value.values()]))
    return value is None or isinstance(value, bool | int | float | str)
