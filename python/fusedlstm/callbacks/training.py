"""Callbacks that steer or record a training: all but the ones that watch a log."""

from __future__ import annotations

import csv
import inspect
import io
import math
import os
from typing import IO, TYPE_CHECKING, Any

from fusedlstm.base import checks
from fusedlstm.callbacks.base import HOOKS, Callback, ExpectedLogs, Logs
from fusedlstm.callbacks.monitors import check_settable, log_rate
from fusedlstm.callbacks.writer import Writer
from fusedlstm.io.atomic import followed
from fusedlstm.io.destinations import Destinations

if TYPE_CHECKING:
    from collections.abc import Callable


class LearningRateScheduler(Callback):
    """Sets the learning rate before each epoch.

    Parameters
    ----------
    schedule : callable
        From the epoch (counted from 0), or the epoch and the current learning rate, to a learning rate.
    verbose : int
        1 to print each learning rate.
    """

    adds_logs = ("learning_rate",)

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        self.schedule = schedule
        self.verbose = verbose
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = inspect.signature(schedule).parameters.values()
        self._takes_rate = sum(parameter.kind in kinds for parameter in parameters) > 1

    def check_before_training(self, logs: ExpectedLogs) -> None:
        """Raise for a learning rate that cannot be set."""
        super().check_before_training(logs)
        check_settable(self)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Set the learning rate."""
        optimizer = self.model.optimizer
        assert optimizer is not None  # fit has checked it
        rate = (
            self.schedule(epoch, float(optimizer.learning_rate)) if self._takes_rate else self.schedule(epoch)
        )
        optimizer.learning_rate = rate
        if self.verbose:
            print(f"Epoch {epoch + 1}: learning rate {rate:g}")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Log the learning rate."""
        log_rate(self, logs)


class LambdaCallback(Callback):
    """Calls functions given by the names of a callback's methods.

    Parameters
    ----------
    on_epoch_begin, on_epoch_end, on_train_begin, on_train_end : callable, optional
    on_train_batch_begin, on_train_batch_end : callable, optional
        What is called as the methods of `Callback` are, such as ``lambda epoch, logs: ...``.
    **hooks : callable
        The others of them.

    Raises
    ------
    TypeError
        If something is not callable.
    ValueError
        If a name is not a method's.
    """

    def __init__(
        self,
        on_epoch_begin: Callable[..., Any] | None = None,
        on_epoch_end: Callable[..., Any] | None = None,
        on_train_begin: Callable[..., Any] | None = None,
        on_train_end: Callable[..., Any] | None = None,
        on_train_batch_begin: Callable[..., Any] | None = None,
        on_train_batch_end: Callable[..., Any] | None = None,
        **hooks: Callable[..., Any] | None,
    ) -> None:
        hooks.update(
            on_epoch_begin=on_epoch_begin,
            on_epoch_end=on_epoch_end,
            on_train_begin=on_train_begin,
            on_train_end=on_train_end,
            on_train_batch_begin=on_train_batch_begin,
            on_train_batch_end=on_train_batch_end,
        )
        for name, function in hooks.items():
            checks.choice(name, "hooks", HOOKS)
            if function is not None:
                if not callable(function):
                    raise TypeError(f"{name}: expected a function, got {function!r}")
                setattr(self, name, function)


class TerminateOnNaN(Callback):
    """Ends the training when the loss is not finite any more.

    Parameters
    ----------
    raise_error : bool
        Whether it ends with a RuntimeError.
    """

    def __init__(self, raise_error: bool = False) -> None:
        self.raise_error = checks.flag(raise_error, "raise_error")

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Check the loss."""
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            if self.raise_error:
                raise RuntimeError(f"batch {batch}: the loss is {loss}")
            print(f"Batch {batch}: the loss is {loss}, training ends")
            self.model.stop_training = True


class CSVLogger(Writer):
    """Writes a line of logs per epoch to a CSV file.

    A line that cannot be written warns, and `fit` raises the first such error when it is complete.

    Parameters
    ----------
    filename : path-like
        The file.
    separator : str
        Between columns, one character.
    append : bool
        Whether lines are added to an existing file.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong. `fit` raises OSError before it begins if the file cannot be written.
    """

    fresh = ("_file",)

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        self.filename = checks.path(filename, "filename")
        if not isinstance(separator, str) or len(separator) != 1:
            raise ValueError(f"separator: expected one character, got {separator!r}")
        csv.writer(io.StringIO(), delimiter=separator)  # refuses ends of lines
        self.separator = separator
        self.append = append
        self._file: IO[str] | None = None
        self._keys: list[str] | None = None

    def check_before_training(self, logs: ExpectedLogs) -> None:
        """Raise if the file cannot be written."""
        super().check_before_training(logs)
        self._destinations = Destinations("filename")
        self._destinations.check(self.filename)

    def on_train_begin(self, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Open the file."""
        mode = "a" if self.append or self.resumed else "w"
        self._file = followed(self.filename).open(mode, newline="", encoding="utf-8")
        super().release()
        self._keys = None

    def get_state(self) -> dict[str, Any]:
        """Return the columns and the file's size; see `Callback.get_state`."""
        file = self._file
        return {"keys": self._keys, "size": None if file is None or not file.seekable() else file.tell()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Drop the lines that were written later; see `Callback.set_state`."""
        if state["size"] is None or self._file is None or not self._file.seekable():
            self._keys = state["keys"]
            return
        found = os.fstat(self._file.fileno()).st_size
        if found < state["size"]:
            error = ValueError(f"expected the {state['size']} bytes of the epochs before, found {found}")
            self.outlive(str(self.filename), error)
            return
        self._file.truncate(state["size"])
        self._file.seek(0, io.SEEK_END)
        self._keys = state["keys"]

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write the epoch's line, after a line of names in an empty file."""
        self.attempt(f"{self.filename} in epoch {epoch + 1}", lambda: self._write(epoch, logs or {}))

    def _write(self, epoch: int, values: Logs) -> None:
        assert self._file is not None  # opened by on_train_begin
        writer = csv.writer(self._file, delimiter=self.separator)
        if self._keys is None:
            self._keys = sorted(values)
            # A pipe has no place to tell of.
            if not self._file.seekable() or self._file.tell() == 0:
                writer.writerow(["epoch", *self._keys])
        writer.writerow([epoch, *(values.get(key, "NA") for key in self._keys)])
        self._file.flush()

    def release(self) -> None:
        """Close the file."""
        super().release()
        file, self._file = self._file, None
        if file is not None:
            self.attempt(str(self.filename), file.close)
