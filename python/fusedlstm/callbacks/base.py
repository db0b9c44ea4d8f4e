"""`Callback`, the list that calls them, and the history that `fit` returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fusedlstm.training import Trainer

Logs: TypeAlias = dict[str, float]


class Callback:
    """Base of callbacks: every method does nothing until it is overridden.

    Attributes
    ----------
    model : Sequential
        The model, set before the first call. Setting ``model.stop_training`` ends the training.
    params : dict
        ``epochs`` (only in `fit`), ``steps``, ``samples``, ``batch_size``, ``verbose``.
    """

    model: Trainer
    params: dict[str, Any]

    def set_model(self, model: Trainer) -> None:
        """Remember the model."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Remember the parameters."""
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Act before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Act after the last epoch."""

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
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Act after an update; ``logs`` holds the means over the epoch so far."""
        self.on_batch_end(batch, logs)

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

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Act after a batch of a prediction."""

    def release(self) -> None:
        """Give back files or the terminal; called last, after errors too."""


class CallbackList:
    """Calls the method of the same name of each callback, in order.

    Used as a context manager, it calls each one's ``release`` at the end.

    Parameters
    ----------
    callbacks : list of Callback
        The callbacks.
    model : Sequential
        Their model.
    params : dict
        Their parameters.

    Raises
    ------
    TypeError
        If one of them is not a `Callback`.
    """

    def __init__(self, callbacks: Sequence[Callback], model: Trainer, params: dict[str, Any]) -> None:
        for callback in callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(f"callbacks: expected Callback objects, got {callback!r}")
        self.callbacks = list(callbacks)
        for callback in self.callbacks:
            callback.set_model(model)
            callback.set_params(params)

    def __getattr__(self, hook: str) -> Callable[..., None]:
        if not hook.startswith("on_"):
            raise AttributeError(f"CallbackList has no attribute {hook!r}")
        methods = [getattr(callback, hook) for callback in self.callbacks]

        def call(*arguments: Any) -> None:
            for method in methods:
                method(*arguments)

        setattr(self, hook, call)  # Found without this detour from now on.
        return call

    def __enter__(self) -> CallbackList:
        return self

    def __exit__(self, *error: object) -> None:
        for callback in self.callbacks:
            callback.release()


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

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Take the epoch's logs."""
        self.epoch.append(epoch)
        for key, value in (logs or {}).items():
            self.history.setdefault(key, []).append(value)
