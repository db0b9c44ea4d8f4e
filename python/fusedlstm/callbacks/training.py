"""Callbacks that steer or record a training."""

from __future__ import annotations

import csv
import inspect
import math
import os
import warnings
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from fusedlstm import checks
from fusedlstm.callbacks.base import Callback, Logs

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusedlstm.variable import Array

_RISING = ("acc", "accuracy", "auc")


class _Monitor(Callback):
    """Base of callbacks that watch one log and tell whether it is better than the best so far."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        checks.choice(mode, "mode", ("auto", "min", "max"))
        self.monitor = monitor
        self.rising = mode == "max" or (mode == "auto" and monitor.endswith(_RISING))
        self.min_delta = abs(checks.number(min_delta, "min_delta"))

    def worst(self) -> float:
        """Return a number that every finite value is better than."""
        return -math.inf if self.rising else math.inf

    def better(self, value: float, than: float) -> bool:
        """Return whether ``value`` is better by more than ``min_delta``."""
        return value - self.min_delta > than if self.rising else value + self.min_delta < than

    def current(self, logs: Logs | None) -> float | None:
        """Return the monitored value; without one, warn and return None, as Keras does."""
        value = (logs or {}).get(self.monitor)
        if value is None:
            name, known = type(self).__name__, list(logs or {})
            warnings.warn(f"{name} monitors {self.monitor!r}, but the logs are {known}", stacklevel=2)
        return value


class EarlyStopping(_Monitor):
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
        Which direction is better; "auto" takes "max" for accuracies.
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

    def on_train_begin(self, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Start anew."""
        self.best = self.worst()
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


class ModelCheckpoint(_Monitor):
    """Saves the model after epochs, or after a number of updates.

    Parameters
    ----------
    filepath : path-like
        File, with ``{epoch}`` (counted from 1) and logs such as ``{val_loss:.2f}`` to be filled in.
    monitor : str
        Key in the logs.
    verbose : int
        1 to print each save.
    save_best_only : bool
        Whether only better values than before are saved.
    mode : {"auto", "min", "max"}
        Which direction is better; "auto" takes "max" for accuracies.
    save_freq : {"epoch"} or int
        When to save: after epochs, or after so many updates.
    initial_value_threshold : float, optional
        Value that must be passed to be better at first.
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        *,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode)
        self.filepath = os.fspath(filepath)
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_freq = save_freq if save_freq == "epoch" else checks.positive_int(save_freq, "save_freq")
        self.best = self.worst() if initial_value_threshold is None else initial_value_threshold
        self._epoch = self._updates = 0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Remember the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Save if it is time to."""
        self._updates += 1
        if isinstance(self.save_freq, int) and self._updates % self.save_freq == 0:
            self._save(logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Save if it is time to."""
        if self.save_freq == "epoch":
            self._save(logs)

    def _save(self, logs: Logs | None) -> None:
        if self.save_best_only:
            value = self.current(logs)
            if value is None or not self.better(value, self.best):
                return
            self.best = value
        path = self.filepath.format(epoch=self._epoch + 1, **(logs or {}))
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.model.save(path)
        if self.verbose:
            print(f"Epoch {self._epoch + 1}: saved {path}")


class LearningRateScheduler(Callback):
    """Sets the learning rate before each epoch.

    Parameters
    ----------
    schedule : callable
        From the epoch (counted from 0), or the epoch and the current learning rate, to a learning rate.
    verbose : int
        1 to print each learning rate.
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        self.schedule = schedule
        self.verbose = verbose
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = inspect.signature(schedule).parameters.values()
        self._takes_rate = sum(parameter.kind in kinds for parameter in parameters) > 1

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Set the learning rate."""
        optimizer = self.model.optimizer
        assert optimizer is not None  # fit has checked it
        rate = self.schedule(epoch, optimizer.learning_rate) if self._takes_rate else self.schedule(epoch)
        optimizer.learning_rate = rate
        if self.verbose:
            print(f"Epoch {epoch + 1}: learning rate {rate:g}")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Log the learning rate."""
        optimizer = self.model.optimizer
        if logs is not None and optimizer is not None:
            logs["learning_rate"] = optimizer.learning_rate


class LambdaCallback(Callback):
    """Calls functions given by the names of a callback's methods.

    Parameters
    ----------
    **hooks
        Such as ``on_epoch_end=lambda epoch, logs: ...``.

    Raises
    ------
    ValueError
        If a name is not a method's.
    """

    def __init__(self, **hooks: Callable[..., Any] | None) -> None:
        known = [name for name in dir(Callback) if name.startswith("on_")]
        for name, function in hooks.items():
            checks.choice(name, "hooks", known)
            if function is not None:
                setattr(self, name, function)


class TerminateOnNaN(Callback):
    """Ends the training when the loss is not finite any more."""

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Check the loss."""
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            print(f"Batch {batch}: the loss is {loss}, training ends")
            self.model.stop_training = True


class CSVLogger(Callback):
    """Writes a line of logs per epoch to a CSV file.

    Parameters
    ----------
    filename : path-like
        The file.
    separator : str
        Between columns.
    append : bool
        Whether lines are added to an existing file.
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        self.filename = Path(filename)
        self.separator = separator
        self.append = append
        self._file: IO[str] | None = None
        self._keys: list[str] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Open the file."""
        self._file = self.filename.open("a" if self.append else "w", newline="", encoding="utf-8")
        self._keys = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write the epoch's line, after a line of names in an empty file."""
        assert self._file is not None  # opened by on_train_begin
        values = logs or {}
        writer = csv.writer(self._file, delimiter=self.separator)
        if self._keys is None:
            self._keys = sorted(values)
            if self._file.tell() == 0:
                writer.writerow(["epoch", *self._keys])
        writer.writerow([epoch, *(values.get(key, "NA") for key in self._keys)])
        self._file.flush()

    def release(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
