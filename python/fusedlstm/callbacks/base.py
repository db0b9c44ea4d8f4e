"""`Callback`, and the history that `fit` returns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

from fusedlstm.base.copying import Copied

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from fusedlstm.base.types import Array
    from fusedlstm.base.variable import Variable
    from fusedlstm.optimizers import Optimizer

Logs: TypeAlias = dict[str, float]


class Model(Protocol):
    """What callbacks know of a model that is trained."""

    optimizer: Optimizer | None
    initial_epoch: int
    stop_training: bool
    stop_evaluating: bool
    stop_predicting: bool

    @property
    def weights(self) -> list[Variable]:
        """All weights."""

    def get_weights(self) -> list[Array]:
        """Return copies of all weights."""

    def set_weights(self, weights: Sequence[npt.ArrayLike]) -> None:
        """Replace all weights."""

    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Write the weights to one file."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write layers and weights to one file."""


class Training(Protocol):
    """What callbacks know of a run of `fit` that may be interrupted."""

    epoch: int  # that is under way, or comes next
    step: int  # steps that it has had; 0 before it begins
    validates: bool
    complete: bool

    def snapshot(self) -> tuple[dict[str, Array], dict[str, str]]:
        """Return copies of all that the run goes on from, as arrays and texts."""

    def go_on_from(self, arrays: Mapping[str, Array], metadata: Mapping[str, str], path: Path) -> None:
        """Let the run go on from a snapshot; `ValueError` if it is of another one."""


@dataclass(frozen=True)
class ExpectedLogs:
    """Which logs a training will have, as far as that is known before it.

    Parameters
    ----------
    batch, epoch : tuple of str
        Keys of the logs of ``on_train_batch_end`` and ``on_epoch_end``.
    batch_open, epoch_open : bool
        Whether a callback of another origin may add further keys.
    epochs : range
        Numbers of the epochs to come, counted from 0.
    """

    batch: tuple[str, ...]
    epoch: tuple[str, ...]
    batch_open: bool = False
    epoch_open: bool = False
    epochs: range = range(1)

    def after(self, callback: Callback) -> ExpectedLogs:
        """Return the logs that callbacks after this one see: they get the same dict."""
        return replace(
            self,
            epoch=(*self.epoch, *callback.adds_logs),
            batch_open=self.batch_open
            or is_foreign(callback, "on_train_batch_end")
            or is_foreign(callback, "on_batch_end"),
            epoch_open=self.epoch_open or is_foreign(callback, "on_epoch_end"),
        )


def is_foreign(callback: Callback, hook: str) -> bool:
    """Tell whether a hook was written outside of this package, so that it may do anything to its logs."""
    package = __name__.rpartition(".")[0]
    return not str(getattr(getattr(callback, hook), "__module__", None)).startswith(f"{package}.")


class Callback(Copied):
    """Base of callbacks: every method does nothing until it is overridden.

    Names, arguments and order of the calls are Keras's. ``logs`` is always a dict, empty where there is
    nothing to tell; callbacks later in the list see what earlier ones put into it.

    Attributes
    ----------
    model : Sequential
        The model, set before the first call, and None in copies. Setting ``model.stop_training``,
        ``stop_evaluating`` or ``stop_predicting`` ends what runs.
    params : dict
        ``epochs`` (1 outside of `fit`), ``steps``, ``samples``, ``batch_size`` (of an update), ``verbose``.
        Numbers that are not known, for what yields batches, are None.
    adds_logs : tuple of str
        Keys that it puts into the logs of epochs.
    resumed : bool
        Whether this training goes on from a backup; known before ``on_train_begin``.
    """

    fresh: ClassVar[tuple[str, ...]] = ("model",)

    model: Model = None  # type: ignore[assignment]
    params: dict[str, Any] = None  # type: ignore[assignment]
    adds_logs: ClassVar[tuple[str, ...]] = ()
    resumed: bool = False

    def set_model(self, model: Model) -> None:
        """Remember the model."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Remember the parameters."""
        self.params = params

    def check_before_training(self, logs: ExpectedLogs) -> None:
        """Raise for what this training could not do; called before ``on_train_begin`` of any callback."""

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Act before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Act after the last epoch; ``logs`` holds its losses and metrics."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Act before epoch ``epoch``, counted from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Act after an epoch and its validation; ``logs`` holds its losses and metrics."""

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Act before an update; Keras's older name of `on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Act after an update; Keras's older name of `on_train_batch_end`."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Act before an update."""
        self.on_batch_begin(batch, logs=logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Act after an update; ``logs`` holds the means over the epoch so far."""
        self.on_batch_end(batch, logs=logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Act before an evaluation, also before `fit`'s validation."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Act after an evaluation."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Act before a batch of an evaluation."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Act after a batch of an evaluation."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Act before a prediction."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Act after a prediction."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Act before a batch of a prediction."""

    def on_predict_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Act after a batch of a prediction; ``logs["outputs"]`` are its outputs."""

    def get_state(self) -> dict[str, Any]:
        """Return what `set_state` needs to go on after an interruption; by default nothing.

        It is called between two steps, when all callbacks have been called, and what it returns is copied:
        numbers, strings, None, NumPy's arrays and scalars, and lists, tuples and dicts of them.
        """
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on where `get_state` returned this, on an equal object in another process.

        It is called after ``on_train_begin`` and, inside of an epoch, after that epoch's
        ``on_epoch_begin``, which are called in the process that goes on as well. What they change in the
        model is undone. The state is that of the callback of the same class and, among those of this class,
        the same place in the list.
        """

    def restore(self, training: Training) -> None:
        """Find what the training goes on from; called before ``on_train_begin`` of any callback."""

    def at_rest(self, training: Training) -> None:
        """Act after a step, before a validation, after an epoch or at the end, when all were called."""

    def release(self) -> None:
        """Give back files or the terminal; called last, after errors too."""

    def raise_failure(self) -> None:
        """Raise the first error that the training outlived, if there was one; called when it is complete."""


# The names of all methods that are called on the way.
HOOKS = tuple(name for name in dir(Callback) if name.startswith("on_"))


class History(Callback):
    """Collects the logs of all epochs.

    Attributes
    ----------
    epoch : list of int
        Numbers of the epochs.
    history : dict of str to list of float
        One entry per epoch for each log.
    """

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}

    def get_state(self) -> dict[str, Any]:
        """Return all epochs so far; see `Callback.get_state`."""
        return {"epoch": self.epoch, "history": self.history}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on after these epochs; see `Callback.set_state`."""
        self.epoch, self.history = state["epoch"], state["history"]

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Take the epoch's logs."""
        self.epoch.append(epoch)
        for key, value in (logs or {}).items():
            self.history.setdefault(key, []).append(value)
