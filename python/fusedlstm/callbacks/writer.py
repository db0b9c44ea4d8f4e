"""`Writer`: callbacks whose files may fail while the training goes on."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, ClassVar

from fusedlstm.callbacks.base import Callback, ExpectedLogs

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusedlstm.io.destinations import Destinations


class Writer(Callback):
    """Base of callbacks that write: an error warns, the training goes on, and `fit` raises it at the end."""

    fresh: ClassVar[tuple[str, ...]] = ("_destinations",)

    _destinations: Destinations | None = None
    _first: tuple[str, Exception] | None = None
    _failed = 0

    def check_before_training(self, logs: ExpectedLogs) -> None:
        """Forget the errors of a training before."""
        super().check_before_training(logs)
        self._first, self._failed = None, 0

    def attempt(self, what: str, act: Callable[[], object]) -> bool:
        """Do something, outlive an error of it, and return whether it went well."""
        try:
            act()
        except Exception as error:  # a training is worth more than any file of it
            self.outlive(what, error)
            return False
        return True

    def outlive(self, what: str, error: Exception) -> None:
        """Warn of an error, and keep the first one for the end."""
        self._failed += 1
        if self._first is None:
            self._first = what, error
        name = type(self).__name__
        warnings.warn(f"{name} could not write {what}, the training goes on: {error}", stacklevel=3)

    def release(self) -> None:
        """Close pipes that the check has opened."""
        if self._destinations is not None:
            self._destinations.close()
            self._destinations = None

    def raise_failure(self) -> None:
        """Raise OSError, caused by the first error that the training outlived, if there was one."""
        if self._first is None:
            return
        what, error = self._first
        text = (
            f"{type(self).__name__} could not write {self._failed} times, first {what}: {error}; "
            "the training is complete, and model.history has its results"
        )
        number = getattr(error, "errno", None)
        raise (OSError(text) if number is None else OSError(number, text)) from error
