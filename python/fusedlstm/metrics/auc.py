"""Areas under curves of decisions at all thresholds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import config
from fusedlstm.activations import sigmoid
from fusedlstm.base import checks
from fusedlstm.metrics.confusion import DecisionMetric, decisions, is_even, ratio

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt


class AUC(DecisionMetric):
    """Area under the ROC or the precision-recall curve, by sums over thresholds.

    Parameters
    ----------
    num_thresholds : int
        At least 2: so many from 0 to 1.
    curve : {"ROC", "PR", "PRGAIN"}
        True positive rate over false positive rate, precision over recall, or these as gains.
    summation_method : {"interpolation", "minoring", "majoring"}
        Heights between two thresholds: the mean (for PR the interpolation of Davis and Goadrich 2006), the
        lower or the higher one.
    name : str, optional
        Key in logs, an automatic one by default: ``auc``, ``auc_1`` and so on.
    thresholds : sequence of float, optional
        In [0, 1], instead of ``num_thresholds``.
    multi_label : bool
        Whether each entry of the last axis has a curve of its own, for predictions (B, C), and the result is
        the mean of their areas.
    num_labels : int, optional
        C, for ``multi_label``.
    label_weights : sequence of float, optional
        Weights of the entries of the last axis: of their areas, or of their decisions.
    from_logits : bool
        Whether predictions are logits instead of probabilities.
    """

    sums = ("_counts",)

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        *,
        thresholds: Sequence[float] | None = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Sequence[float] | None = None,
        from_logits: bool = False,
    ) -> None:
        self.curve = checks.choice(str(curve).upper(), "curve", ("ROC", "PR", "PRGAIN"))
        methods = ("interpolation", "minoring", "majoring")
        self.summation_method = checks.choice(str(summation_method).lower(), "summation_method", methods)
        self.multi_label = checks.flag(multi_label, "multi_label")
        self.from_logits = checks.flag(from_logits, "from_logits")
        self.num_labels = None if num_labels is None else checks.positive_int(num_labels, "num_labels")
        if num_labels is not None and not self.multi_label:
            raise ValueError(f"num_labels: expected None without multi_label, got {num_labels}")
        self.label_weights = (
            None if label_weights is None else checks.numeric(label_weights, "label_weights").tolist()
        )
        if thresholds is None:
            self.thresholds = None
            self.num_thresholds = checks.positive_int(num_thresholds, "num_thresholds")
            if self.num_thresholds < 2:
                raise ValueError(f"num_thresholds: expected at least 2, got {num_thresholds}")
            inner = np.arange(1, self.num_thresholds - 1) / (self.num_thresholds - 1)
        else:
            inner = np.sort(checks.numeric(thresholds, "thresholds").astype(np.float64))
            checks.none_of(~((inner >= 0) & (inner <= 1)), inner, "thresholds", "numbers in [0, 1]")
            self.thresholds = inner.tolist()
            self.num_thresholds = len(inner) + 2
        even = thresholds is None or is_even(np.array([0, *inner, 1]))
        low = config.epsilon()
        super().__init__(np.array([-low, *inner, 1 + low]), even, name)

    def update_state(self, y_true: object, y_pred: object, sample_weight: object = None) -> None:
        """Take a batch in; see `Metric.update_state`."""
        y, p, w = decisions(y_true, y_pred, sample_weight)
        if self.from_logits:
            p = sigmoid(p)
        if self.multi_label and (p.ndim != 2 or self.num_labels not in (None, p.shape[1])):
            raise ValueError(f"y_pred: expected shape (B, {self.num_labels or 'C'}), got {p.shape}")
        if self.label_weights is not None:
            if p.ndim < 2 or np.shape(self.label_weights) != p.shape[-1:]:
                raise ValueError(
                    f"label_weights: expected one for each entry of the last axis of predictions of shape "
                    f"{p.shape}, got shape {np.shape(self.label_weights)}"
                )
            if not self.multi_label:
                w = w * np.array(self.label_weights)
        self._add_decisions(y, p, w, p.shape[1] if self.multi_label else 1)

    def reset_state(self) -> None:
        """Forget all batches."""
        super().reset_state()
        if self.multi_label:
            self._counts = self._counts[..., None]

    def result(self) -> Any:
        """Return the area so far, a float; 0.0 before the first batch."""
        areas = self._steps().sum(axis=0)
        if not self.multi_label:
            return float(areas)
        if self.label_weights is None:
            return float(areas.mean())
        weights = np.array(self.label_weights)
        return float(ratio((areas * weights).sum(), weights.sum()))

    def _steps(self) -> npt.NDArray[np.float64]:
        """Return the area between each threshold and the next."""
        right, wrong, rejected, missed = self._counts
        if self.curve == "PR" and self.summation_method == "interpolation":
            return _interpolated(right, wrong, missed)
        recall = ratio(right, right + missed)
        if self.curve == "ROC":
            x, y = ratio(wrong, wrong + rejected), recall
        elif self.curve == "PR":
            x, y = recall, ratio(right, right + wrong)
        else:
            odds = ratio(right + missed, rejected + wrong)
            none = right == 0
            x = np.maximum(np.where(none, 0.0, 1 - odds * ratio(missed, right)), 0)
            y = np.where(none, 1.0, 1 - odds * ratio(wrong, right))
        if self.summation_method == "interpolation":
            heights = (y[:-1] + y[1:]) / 2
        else:
            heights = (np.minimum if self.summation_method == "minoring" else np.maximum)(y[:-1], y[1:])
        area: npt.NDArray[np.float64] = (x[:-1] - x[1:]) * heights
        return area


def _interpolated(
    right: npt.NDArray[np.float64], wrong: npt.NDArray[np.float64], missed: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Areas below the precision-recall curve where true positives grow in proportion to all positives."""
    positives = right + wrong
    grown = right[:-1] - right[1:]
    slope = ratio(grown, np.maximum(positives[:-1] - positives[1:], 0))
    intercept = right[1:] - slope * positives[1:]
    both = (positives[:-1] > 0) & (positives[1:] > 0)
    growth = np.where(both, ratio(positives[:-1], np.maximum(positives[1:], 0)), 1.0)
    return ratio(slope * (grown + intercept * np.log(growth)), np.maximum(right[1:] + missed[1:], 0))
