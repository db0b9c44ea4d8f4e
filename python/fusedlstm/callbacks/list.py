"""`CallbackList`: many callbacks as one."""

from __future__ import annotations

import contextlib
import inspect
from inspect import Parameter
from typing import TYPE_CHECKING, Any

from fusedlstm.callbacks.base import HOOKS, Callback, ExpectedLogs, History
from fusedlstm.callbacks.progress import ProgressBar

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusedlstm.callbacks.base import Model, Training


class CallbackList(Callback):
    """Calls the method of the same name of each callback, in order.

    Used as a context manager, it calls each one's ``release`` at the end.

    Parameters
    ----------
    callbacks : Callback or (nested) list of Callback, optional
        The callbacks.
    add_history, add_progbar : bool
        Whether a `History` and a `ProgressBar` are added where there is none.
    model : Sequential, optional
        Their model.
    **params
        Their parameters; see `Callback`.

    Raises
    ------
    TypeError
        If one of them is not a `Callback`.
    """

    fresh = ("_keepers", "_methods")

    def __init__(
        self,
        callbacks: Any = None,
        add_history: bool = False,
        add_progbar: bool = False,
        model: Model | None = None,
        **params: Any,
    ) -> None:
        self.callbacks = _flat(callbacks)
        self._methods: dict[str, list[Callable[..., object]]] = {}
        self._keepers: list[Callback] = []  # which come after each step
        if add_progbar and not any(isinstance(callback, ProgressBar) for callback in self.callbacks):
            self.append(ProgressBar(live=params.get("verbose") in ("auto", 1)))
        if add_history and not any(isinstance(callback, History) for callback in self.callbacks):
            self.append(History())
        if model is not None:
            self.set_model(model)
        self.set_params(params)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the callbacks over."""
        super().__setstate__(state)
        self._methods, self._keepers = {}, []

    def append(self, callback: Callback) -> None:
        """Add a callback at the end."""
        self.callbacks += _flat(callback)
        self._methods = {}

    def set_model(self, model: Model) -> None:
        """Hand the model to all."""
        super().set_model(model)
        for callback in self.callbacks:
            callback.set_model(model)

    def set_params(self, params: dict[str, Any]) -> None:
        """Hand the parameters to all."""
        super().set_params(params)
        for callback in self.callbacks:
            callback.set_params(params)

    def check_before_training(self, logs: ExpectedLogs) -> None:
        """Let all check, each for the logs that the ones before leave it."""
        for callback in self.callbacks:
            callback.check_before_training(logs)
            logs = logs.after(callback)

    def restore(self, training: Training) -> None:
        """Let all look for what the training goes on from."""
        self._keepers = [one for one in self.callbacks if type(one).at_rest is not Callback.at_rest]
        for callback in self.callbacks:
            callback.restore(training)

    def at_rest(self, training: Training) -> None:
        """Let those act that do between two steps."""
        for callback in self._keepers:
            callback.at_rest(training)

    def release(self) -> None:
        """Let all give back what they hold."""
        with contextlib.ExitStack() as stack:  # goes on where one raises
            for callback in reversed(self.callbacks):
                stack.callback(callback.release)

    def raise_failure(self) -> None:
        """Raise the first error that the training outlived, if there was one."""
        for callback in self.callbacks:
            callback.raise_failure()

    def __enter__(self) -> CallbackList:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def _call(self, hook: str, logs: dict[str, Any] | None, *numbers: int) -> None:
        if not self.callbacks:
            return
        shared = dict(logs or {})
        if hook not in self._methods:
            self._methods[hook] = [_method(callback, hook) for callback in self.callbacks]
        for method in self._methods[hook]:
            method(*numbers, shared)


def _of_all(hook: str) -> Callable[..., None]:
    """Return a method that calls a hook of all callbacks, with the arguments that it has."""

    def plain(self: CallbackList, logs: dict[str, Any] | None = None) -> None:
        self._call(hook, logs)

    def of_epoch(self: CallbackList, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._call(hook, logs, epoch)

    def of_batch(self: CallbackList, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._call(hook, logs, batch)

    return of_batch if "batch" in hook else of_epoch if "epoch" in hook else plain


for _hook in HOOKS:
    setattr(CallbackList, _hook, _of_all(_hook))


def _method(callback: Callback, hook: str) -> Callable[..., object]:
    """Return a hook as a function of positions: Keras hands a batch's logs over by their name."""
    method: Callable[..., object] = getattr(callback, hook)
    try:
        kinds = [parameter.kind for parameter in inspect.signature(method).parameters.values()]
    except ValueError:  # some functions in C tell nothing
        return method
    positions = sum(kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD) for kind in kinds)
    if Parameter.VAR_POSITIONAL in kinds or positions > 1 or "batch" not in hook:
        return method
    return lambda batch, logs: method(batch, logs=logs)


def _flat(given: Any) -> list[Callback]:
    if given is None:
        return []
    if isinstance(given, list | tuple):
        return [callback for item in given for callback in _flat(item)]
    if type(given) is CallbackList:
        return list(given.callbacks)
    if not isinstance(given, Callback):
        raise TypeError(f"callbacks: expected Callback objects or lists of them, got {given!r}")
    return [given]
