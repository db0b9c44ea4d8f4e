"""Callbacks that watch one log: `EarlyStopping`, and the base of those that save the best."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from fusedlstm.base import checks
from fusedlstm.callbacks.base import Callback, ExpectedLogs, Logs

if TYPE_CHECKING:
    from fusedlstm.base.types import Array

# Ends of the names of metrics that grow as a model gets better, without the number of an automatic name.
_RISING = ("acc", "accuracy", "auc", "precision", "recall", "score", "cosine_similarity")


class Monitor(Callback):
    """Base of callbacks that watch one log and tell whether it is better than the best so far."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        if not isinstance(monitor, str):
            raise TypeError(f"monitor: expected a name of a log, got {monitor!r}")
        checks.choice(mode, "mode", ("auto", "min", "max"))
        self.monitor = monitor
        self.rising = mode == "max" or (
            mode == "auto" and monitor.lower().rstrip("_0123456789").endswith(_RISING)
        )
        self.min_delta = abs(checks.number(min_delta, "min_delta"))
        self._told = False

    def better(self, value: float, than: float | None) -> bool:
        """Return whether ``value`` is better by more than ``min_delta``; than None, all is, NaN too."""
        if than is None:
            return True
        return value - self.min_delta > than if self.rising else value + self.min_delta < than

    def current(self, logs: Logs | None) -> float | None:
        """Return the monitored value; without one, warn and return None, as Keras does."""
        value = (logs or {}).get(self.monitor)
        if value is None and not self._told:
            self.warn_missing(list(logs or {}))
        return value

    def warn_missing(self, known: list[str]) -> None:
        """Warn that the monitored log is not among the known ones."""
        warnings.warn(
            f"{type(self).__name__} monitors {self.monitor!r}, but the logs are {known}", stacklevel=3
        )


class EarlyStopping(Monitor):
    """Ends the training when a log has stopped getting better.

    Parameters
    ----------
    monitor : str
        Key in the logs.
    min_delta : float
        Smaller changes do not count.
    patience : int
        Number of epochs without a better value after which the training ends.
    verbose : int
        1 to print when it ends.
    mode : {"auto", "min", "max"}
        Which direction is better; "auto" takes "max" for accuracies, AUC, precision, recall and scores.
    baseline : float, optional
        Value that must be passed to be better.
    restore_best_weights : bool
        Whether the best epoch's weights are restored at the end.
    start_from_epoch : int
        Epochs before this one are ignored.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = checks.non_negative_int(patience, "patience")
        self.verbose = verbose
        self.baseline = None if baseline is None else checks.number(baseline, "baseline")
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = checks.non_negative_int(start_from_epoch, "start_from_epoch")

    def check_before_training(self, logs: ExpectedLogs) -> None:
        """Warn, once, of a log that there will not be: the training goes on to its last epoch then."""
        self._told = self.monitor not in logs.epoch and not logs.epoch_open
        if self._told:
            self.warn_missing(list(logs.epoch))

    def on_train_begin(self, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Start anew."""
        self.best: float | None = None
        self.best_epoch = self.stopped_epoch = self.wait = 0
        self.best_weights: list[Array] | None = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Compare the epoch's value with the best."""
        value = self.current(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        better = self.better(value, self.best)
        if self.restore_best_weights and (better or self.best_weights is None):
            self.best_weights = self.model.get_weights()
            self.best_epoch = epoch
        self.wait += 1
        if better:
            self.best, self.best_epoch = value, epoch
            if self.baseline is None or self.better(value, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Restore the best weights if asked to."""
        if self.stopped_epoch and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: stopped early, best epoch {self.best_epoch + 1}")
        if self.best_weights is not None:
            self.model.set_weights(self.best_weights)
