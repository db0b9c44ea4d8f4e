"""F-scores of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import config
from fusedlstm.base import checks, devices
from fusedlstm.losses.base import prepare_predictions, prepare_weights
from fusedlstm.metrics.base import StateMetric

if TYPE_CHECKING:
    import numpy.typing as npt


class FBetaScore(StateMetric):
    """Weighted harmonic mean of precision and recall, for labels and predictions (B, C), one-hot or several.

    Parameters
    ----------
    average : {"micro", "macro", "weighted"} or None
        ``micro`` counts decisions of all classes together; ``macro`` is the mean of the classes' scores,
        ``weighted`` the mean by their labels; None leaves them apart.
    beta : float
        What recall counts compared with precision; positive.
    threshold : float, optional
        In (0, 1]: larger predictions say yes. By default the largest one of a row does.
    name : str
        Key in logs.
    """

    # Decisions that are right, wrong and missing, and labels: (4, C).
    _counts: npt.NDArray[np.float64]

    sums = ("_counts",)

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str = "fbeta_score",
    ) -> None:
        if average is not None:
            checks.choice(average, "average", ("micro", "macro", "weighted"))
        self.average = average
        self.beta = checks.positive(beta, "beta")
        if threshold is not None and not 0 < checks.number(threshold, "threshold") <= 1:
            raise ValueError(f"threshold: expected a number in (0, 1] or None, got {threshold}")
        self.threshold = threshold
        super().__init__(name)

    def update_state(self, y_true: object, y_pred: object, sample_weight: object = None) -> None:
        """Take a batch in; see `Metric.update_state`."""
        p = devices.to_host(prepare_predictions(y_pred))
        y = devices.to_host(checks.numeric(y_true, "y_true")).astype(np.float64)
        if p.ndim != 2:
            raise ValueError(f"y_pred: expected shape (B, C), got {p.shape}")
        if y.shape != p.shape:
            raise ValueError(f"y_true: expected shape {p.shape} like the predictions, got {y.shape}")
        weights = prepare_weights(sample_weight, p.shape[:1])
        if self.threshold is None:
            # Rows of zeros say no to all classes.
            yes = (p >= p.max(axis=-1, keepdims=True)) & (np.abs(p) > 1e-9)
        else:
            yes = p > self.threshold
        w = np.ones((1, 1)) if weights is None else devices.to_host(weights)[:, None]
        counts = np.array([(w * part).sum(axis=0) for part in (yes * y, yes * (1 - y), ~yes * y, y)])
        self._counts = self._counts + (
            counts.sum(axis=1, keepdims=True) if self.average == "micro" else counts
        )

    def result(self) -> Any:
        """Return the score so far, or one for each class."""
        right, wrong, missed, labels = self._counts
        low = config.epsilon()
        precision, recall = right / (right + wrong + low), right / (right + missed + low)
        square = self.beta**2
        scores = precision * recall / (square * precision + recall + low) * (1 + square)
        if self.average is None:
            return scores
        if self.average == "weighted":
            return float((scores * labels / (labels.sum() + low)).sum())
        return float(scores.mean())

    def reset_state(self) -> None:
        """Forget all batches."""
        self._counts = np.zeros((4, 1))


class F1Score(FBetaScore):
    """Harmonic mean of precision and recall; parameters as of `FBetaScore`."""

    def __init__(
        self, average: str | None = None, threshold: float | None = None, name: str = "f1_score"
    ) -> None:
        super().__init__(average, 1.0, threshold, name)
