"""What one thread at a time may do with a model, and the error for the second one."""

from __future__ import annotations

import threading
import weakref
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from fusedlstm.base.held import at_end

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")
Model = TypeVar("Model")


class _Use:
    """A context in which the calling thread is the only one that trains or evaluates a model.

    Calls enter themselves into the model's dict, whose order decides: one that finds another thread's before
    its own is refused. An entry counts as long as a ``with`` statement holds its end (`held`), so that those
    that an interrupt leaves behind count no more.
    """

    __slots__ = ("_end", "_thread", "_users")

    def __init__(self, users: Users) -> None:
        self._users = users
        self._thread = threading.current_thread()

    def entered(self, end: Callable[..., None]) -> None:
        """Count as long as `end` lives."""
        self._end = weakref.ref(end)

    def __enter__(self) -> None:
        self._users[self] = None
        if len(self._users) > 1:
            self._check()

    def _check(self) -> None:
        for other in tuple(self._users):
            if other is self:
                return
            # After a fork the parent's other threads are not alive in the child.
            if other._end() is None or not other._thread.is_alive():
                self._users.pop(other, None)
            elif other._thread is not self._thread:
                self._users.pop(self, None)
                raise RuntimeError(
                    "model: expected one thread at a time to train or evaluate it, got "
                    f"{self._thread.name!r} while {other._thread.name!r} does; other threads may call it, "
                    "predict and save meanwhile"
                )

    @at_end
    def __exit__(self, *_: object) -> None:
        self._users.pop(self, None)


# A model's calls that train or evaluate, in the order in which they began.
Users = dict[_Use, None]


def by_one_thread(method: Callable[Concatenate[Model, P], R]) -> Callable[Concatenate[Model, P], R]:
    """Let a model's method run in one thread at a time: others get a `RuntimeError` before any work.

    Such methods may call each other.
    """

    @wraps(method)
    def run(model: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with _Use(model._users):
            return method(model, *args, **kwargs)

    return run
