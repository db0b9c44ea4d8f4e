"""Metrics of real-valued predictions that are no means of a loss."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.base import checks, devices
from fusedlstm.losses.base import like_predictions, prepare_predictions, prepare_weights
from fusedlstm.metrics.base import Metric, StateMetric

if TYPE_CHECKING:
    import numpy.typing as npt

    from fusedlstm.base.types import Array


class RootMeanSquaredError(Metric):
    """Root of the mean of the squared differences."""

    takes_mask = False

    def __init__(self, name: str = "root_mean_squared_error") -> None:
        super().__init__(name)

    def values(self, y_true: npt.NDArray[Any], y_pred: Array) -> npt.NDArray[Any]:
        """Return each squared difference; see `Metric.values`."""
        difference = y_pred - like_predictions(y_true, y_pred.shape)
        return difference * difference

    def result(self) -> Any:
        """Return the root so far, a float; 0.0 before the first batch."""
        return math.sqrt(super().result())


class R2Score(StateMetric):
    """Coefficient of determination, for predictions (B, C).

    Parameters
    ----------
    class_aggregation : {"uniform_average", "variance_weighted_average"} or None
        How the coefficients of the last axis become one number; None leaves them apart.
    num_regressors : int
        Number of independent inputs, for the adjusted coefficient; 0 for the plain one.
    name : str
        Key in logs.
    """

    _sums: npt.NDArray[np.float64]  # of weights, labels, their squares and squared errors, (4, C)
    _numbers: int

    sums = ("_sums", "_numbers")

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str = "r2_score",
    ) -> None:
        if class_aggregation is not None:
            known = ("uniform_average", "variance_weighted_average")
            checks.choice(class_aggregation, "class_aggregation", known)
        self.class_aggregation = class_aggregation
        self.num_regressors = checks.non_negative_int(num_regressors, "num_regressors")
        super().__init__(name)

    def update_state(self, y_true: object, y_pred: object, sample_weight: object = None) -> None:
        """Take a batch in; see `Metric.update_state`."""
        p = devices.to_host(prepare_predictions(y_pred)).astype(np.float64)
        if p.ndim != 2:
            raise ValueError(f"y_pred: expected shape (B, C), got {p.shape}")
        y = devices.to_host(like_predictions(checks.numeric(y_true, "y_true"), p.shape)).astype(np.float64)
        weights = prepare_weights(sample_weight, p.shape)
        w = np.broadcast_to(1.0 if weights is None else devices.to_host(weights), p.shape)
        sums = [(w * part).sum(axis=0) for part in (np.ones_like(y), y, y * y, (y - p) ** 2)]
        self._sums = self._sums + np.array(sums)
        self._numbers += y.size

    def result(self) -> Any:
        """Return the coefficient so far, or one for each number of the last axis; NaN before the first batch.

        As in Keras, numbers that are all the same, without a variance to compare with, have 0.
        """
        count, total, squares, errors = self._sums
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = squares - total * (total / count)
            scores = 1 - errors / variance
            scores = np.where(np.isinf(scores), 0.0, scores)
            if self.class_aggregation == "uniform_average":
                scores = scores.mean()
            elif self.class_aggregation is not None:
                scores = (variance * scores).sum() / variance.sum()
        left = self._numbers - self.num_regressors - 1
        if self.num_regressors and left > 0:
            scores = 1 - (1 - scores) * (self._numbers - 1) / left
        elif self.num_regressors:
            warnings.warn(
                f"{self.name}: {self.num_regressors} regressors are too many for {self._numbers} numbers; "
                "the score is the one that is not adjusted",
                stacklevel=2,
            )
        return scores if self.class_aggregation is None else float(scores)

    def reset_state(self) -> None:
        """Forget all batches."""
        self._sums = np.zeros((4, 1))
        self._numbers = 0
