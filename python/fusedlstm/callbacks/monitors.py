"""Callbacks that watch one log: `EarlyStopping`, `ReduceLROnPlateau`, and their base."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

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


class EpochMonitor(Monitor):
    """Base of callbacks that watch a log of epochs."""

    def check_before_training(self, logs: ExpectedLogs) -> None:
        """Warn, once, of a log that there will not be: the training goes on without this callback then."""
        self._told = self.monitor not in logs.epoch and not logs.epoch_open
        if self._told:
            self.warn_missing(list(logs.epoch))


class EarlyStopping(EpochMonitor):
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
        self._reset()

    def _reset(self) -> None:
        self.best: float | None = None
        self.best_epoch = self.stopped_epoch = self.wait = 0
        self.best_weights: list[Array] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Start anew."""
        self._reset()

    def get_state(self) -> dict[str, Any]:
        """Return the best so far, and since when it is; see `Callback.get_state`."""
        names = ("best", "best_epoch", "best_weights", "stopped_epoch", "wait")
        return {name: getattr(self, name) for name in names}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on with that; see `Callback.set_state`."""
        vars(self).update(state)

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


class ReduceLROnPlateau(EpochMonitor):
    """Reduces the learning rate when a log has stopped getting better, and logs it as ``learning_rate``.

    Parameters
    ----------
    monitor : str
        Key in the logs.
    factor : float
        What the learning rate is multiplied by, below 1.
    patience : int
        Number of epochs without a better value after which the learning rate is reduced.
    verbose : int
        1 to print each reduction.
    mode : {"auto", "min", "max"}
        Which direction is better; "auto" takes "max" for accuracies.
    min_delta : float
        Smaller changes do not count.
    cooldown : int
        Epochs after a reduction that do not count.
    min_lr : float
        The learning rate does not go below it.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong. `fit` raises TypeError if the learning rate is a schedule.
    """

    adds_logs = ("learning_rate",)

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.factor = checks.rate(factor, "factor")
        self.patience = checks.non_negative_int(patience, "patience")
        self.verbose = verbose
        self.cooldown = checks.non_negative_int(cooldown, "cooldown")
        self.min_lr = checks.non_negative(min_lr, "min_lr")
        self._reset()

    def _reset(self) -> None:
        self.best: float | None = None
        self.cooldown_counter = self.wait = 0

    def check_before_training(self, logs: ExpectedLogs) -> None:
        """Warn of a log that there will not be, and raise for a learning rate that cannot be set."""
        super().check_before_training(logs)
        check_settable(self)

    def on_train_begin(self, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Start anew."""
        self._reset()

    def get_state(self) -> dict[str, Any]:
        """Return the best so far, and since when it is; see `Callback.get_state`."""
        return {name: getattr(self, name) for name in ("best", "cooldown_counter", "wait")}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on with that; see `Callback.set_state`."""
        vars(self).update(state)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Compare the epoch's value with the best, and reduce the learning rate if it is time to."""
        log_rate(self, logs)
        value = self.current(logs)
        if value is None:
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self.better(value, self.best):
            self.best, self.wait = value, 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience:
                self._reduce(epoch)

    def in_cooldown(self) -> bool:
        """Tell whether the last reduction was too recent for another one."""
        return self.cooldown_counter > 0

    def _reduce(self, epoch: int) -> None:
        optimizer = self.model.optimizer
        assert optimizer is not None  # fit has checked it
        rate = float(optimizer.learning_rate)
        if rate <= self.min_lr:
            return
        optimizer.learning_rate = rate = max(rate * self.factor, self.min_lr)
        self.cooldown_counter, self.wait = self.cooldown, 0
        if self.verbose:
            print(f"Epoch {epoch + 1}: learning rate reduced to {rate:g}")


def check_settable(callback: Callback) -> None:
    """Raise TypeError if the optimizer of a callback's model has a schedule: no number can take its place."""
    optimizer = callback.model.optimizer
    if optimizer is not None and optimizer.scheduled:
        raise TypeError(
            f"{type(callback).__name__}: expected a learning rate that is a number, got a schedule"
        )


def log_rate(callback: Callback, logs: Logs | None) -> None:
    """Put the learning rate into an epoch's logs."""
    optimizer = callback.model.optimizer
    if logs is not None and optimizer is not None:
        logs["learning_rate"] = float(optimizer.learning_rate)
