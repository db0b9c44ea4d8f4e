"""Metrics of right and wrong decisions at thresholds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fusedlstm import config
from fusedlstm.base import checks, devices
from fusedlstm.base.names import auto_name
from fusedlstm.losses.base import like_predictions, prepare_predictions, prepare_weights
from fusedlstm.metrics.base import StateMetric

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

# As in Keras: predictions that are not among the largest ones, and a threshold that all others exceed.
_LOWEST = -1e10


class DecisionMetric(StateMetric):
    """Base of metrics that count decisions: predictions above a threshold say yes, as labels other than 0 do.

    `_counts`, (4, T) or (4, T, C), has true positives, false positives, true negatives and false negatives at
    each threshold.
    """

    _counts: npt.NDArray[np.float64]

    sums = ("_counts",)

    def __init__(self, levels: npt.NDArray[np.float64], even: bool, name: str | None) -> None:
        self._levels, self._even = levels, even
        super().__init__(auto_name(type(self)) if name is None else name)

    def reset_state(self) -> None:
        """Forget all batches."""
        self._counts = np.zeros((4, len(self._levels)))

    def _add_decisions(
        self, y: npt.NDArray[Any], p: npt.NDArray[Any], w: npt.NDArray[Any], columns: int = 1
    ) -> None:
        """Count labels, predictions and weights of one shape; with several columns, for each of these.

        Predictions are sorted into the gaps between thresholds, so that the time does not grow with these.
        """
        levels = self._levels.astype(p.dtype)
        if self._even:
            # Keras finds gaps by arithmetic where thresholds are a grid. One below 0 is always exceeded.
            above = np.ceil(np.clip(p, 0, 1) * p.dtype.type(len(levels) - 1))
            above = np.maximum(above, 1) if levels[0] < 0 else above
            order = np.arange(len(levels))
        else:
            order = np.argsort(levels, kind="stable")
            above = np.searchsorted(levels[order], p)
        above = np.where(np.isnan(p), 0, above).astype(np.intp).reshape(-1, columns)
        gaps = len(levels) + 1
        places = (above + gaps * np.arange(columns)).reshape(-1)
        yes = (y != 0).reshape(-1)
        sums = []
        for labels in (yes, ~yes):
            in_gaps = np.bincount(places, w.reshape(-1) * labels, gaps * columns).reshape(columns, gaps).T
            exceeding = in_gaps[::-1].cumsum(axis=0)[::-1]
            sorted_back = np.empty((gaps - 1, columns))
            sorted_back[order] = exceeding[1:]
            sums += [sorted_back, exceeding[0] - sorted_back]
        true_positives, false_negatives, false_positives, true_negatives = sums
        counts = np.array([true_positives, false_positives, true_negatives, false_negatives])
        self._counts = self._counts + (counts[..., 0] if columns == 1 and self._counts.ndim == 2 else counts)


def decisions(
    y_true: object, y_pred: object, sample_weight: object
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Return labels, predictions of Keras's default type, and weights, as NumPy arrays of one shape."""
    p = devices.to_host(prepare_predictions(y_pred)).astype(config.floatx())
    y = devices.to_host(like_predictions(checks.numeric(y_true, "y_true"), p.shape))
    weights = prepare_weights(sample_weight, p.shape)
    return y, p, np.broadcast_to(1.0 if weights is None else devices.to_host(weights), p.shape)


def is_even(thresholds: npt.NDArray[np.float64]) -> bool:
    """Tell whether thresholds are a grid from 0 to 1."""
    count = len(thresholds)
    if count < 3:
        return False
    return np.allclose(thresholds, np.arange(count, dtype=np.float32) / (count - 1), atol=config.epsilon())


class _Thresholds(DecisionMetric):
    """Base of metrics with thresholds that are given.

    Parameters
    ----------
    thresholds : float or sequence of float, optional
        In [0, 1], 0.5 by default; with several, there is a result for each.
    name : str, optional
        Key in logs, an automatic one by default: ``precision``, ``precision_1`` and so on.
    """

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        name: str | None = None,
        *,
        usual: float = 0.5,
    ) -> None:
        if thresholds is None:
            levels = np.array([usual])
        else:
            levels = np.atleast_1d(checks.numeric(thresholds, "thresholds")).astype(np.float64)
            if levels.ndim != 1 or not levels.size:
                raise ValueError(f"thresholds: expected a number or a list of them, got {thresholds!r:.80}")
            checks.none_of(~((levels >= 0) & (levels <= 1)), levels, "thresholds", "numbers in [0, 1]")
        self.thresholds = None if thresholds is None else levels.tolist()
        super().__init__(levels, is_even(levels), name)

    def _results(self, values: npt.NDArray[np.float64]) -> Any:
        return float(values[0]) if len(values) == 1 else values


class _Count(_Thresholds):
    """Base of counts of one kind of decisions."""

    which: ClassVar[int]

    def __init__(self, thresholds: float | Sequence[float] | None = None, name: str | None = None) -> None:
        super().__init__(thresholds, name)

    def update_state(self, y_true: object, y_pred: object, sample_weight: object = None) -> None:
        """Take a batch in; see `Metric.update_state`."""
        self._add_decisions(*decisions(y_true, y_pred, sample_weight))

    def result(self) -> Any:
        """Return the sum of the weights so far, or one for each threshold."""
        return self._results(self._counts[self.which])


class TruePositives(_Count):
    """Number of decisions that say yes where labels do."""

    which = 0


class FalsePositives(_Count):
    """Number of decisions that say yes where labels do not."""

    which = 1


class TrueNegatives(_Count):
    """Number of decisions that say no where labels do."""

    which = 2


class FalseNegatives(_Count):
    """Number of decisions that say no where labels do not."""

    which = 3


class Precision(_Thresholds):
    """Share of right decisions among those that say yes.

    Parameters
    ----------
    thresholds : float or sequence of float, optional
        In [0, 1]; by default 0.5, or none with ``top_k``. With several, there is a result for each.
    top_k : int, optional
        Only so many predictions of the last axis, the largest ones, may say yes.
    class_id : int, optional
        Only this entry of the last axis counts.
    name : str, optional
        Key in logs, an automatic one by default: ``precision``, ``precision_1`` and so on.
    """

    among = 1  # false positives

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
    ) -> None:
        self.top_k = None if top_k is None else checks.positive_int(top_k, "top_k")
        self.class_id = None if class_id is None else checks.non_negative_int(class_id, "class_id")
        super().__init__(thresholds, name, usual=0.5 if top_k is None else _LOWEST)

    def update_state(self, y_true: object, y_pred: object, sample_weight: object = None) -> None:
        """Take a batch in; see `Metric.update_state`."""
        y, p, w = decisions(y_true, y_pred, sample_weight)
        if self.top_k is not None:
            largest = np.argsort(-p, axis=-1, kind="stable")[..., : self.top_k]
            kept = np.full_like(p, _LOWEST)
            np.put_along_axis(kept, largest, np.take_along_axis(p, largest, axis=-1), axis=-1)
            p = kept
        if self.class_id is not None:
            if p.ndim < 2 or self.class_id >= p.shape[-1]:
                raise ValueError(
                    f"class_id: expected a place in the last axis of predictions of shape {p.shape}, "
                    f"got {self.class_id}"
                )
            y, p, w = (array[..., self.class_id] for array in (y, p, w))
        self._add_decisions(y, p, w)

    def result(self) -> Any:
        """Return the share so far, or one for each threshold; 0 where there are none."""
        right = self._counts[0]
        return self._results(ratio(right, right + self._counts[self.among]))


class Recall(Precision):
    """Share of labels that say yes which decisions found; parameters as of `Precision`."""

    among = 3  # false negatives


def ratio(part: npt.NDArray[Any], total: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return quotients, 0 where the divisor is 0."""
    quotient: npt.NDArray[Any] = np.divide(part, total, out=np.zeros_like(part), where=total != 0)
    return quotient
