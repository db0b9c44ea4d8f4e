"""Contexts that an interrupt cannot leave entered.

Python raises KeyboardInterrupt at the first line of ``__exit__`` as readily as anywhere else, and what that
method would have undone then stays. The callable that a ``with`` statement has for its end is therefore a
new object here, which nothing else refers to. It dies with the statement, however that ends, even while a
traceback keeps the frames; and its death is noticed in C, where nothing interrupts.
"""

from __future__ import annotations

import weakref
from collections import deque
from contextlib import ContextDecorator
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")


class at_end:  # noqa: N801 (a decorator)
    """Make an ``__exit__`` one callable for each ``with`` statement, of which the object's `entered` is told.

    From the class, as `contextlib.ExitStack` takes it, it is the plain function.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        self._function = function

    def __get__(self, context: Any, kind: type) -> Callable[..., None]:
        """Return the callable."""
        if context is None:
            return self._function
        end = partial(self._function, context)
        context.entered(end)
        return end


class Setting(ContextDecorator, Generic[T]):
    """A context in which something is set.

    Parameters
    ----------
    change : callable
        Sets a value and returns what `undo` takes; in C, as `undo`.
    undo : callable
        Sets back.
    value : object
        What to set.
    result : object, optional
        What the ``with`` statement gives.
    """

    def __init__(
        self,
        change: Callable[[Any], Any],
        undo: Callable[[Any], Any],
        value: object,
        result: T = None,  # type: ignore[assignment]
    ) -> None:
        self._change, self._undo = change, undo
        self._value, self._result = value, result
        self._renew()

    def _renew(self) -> None:
        self._before: list[Any] = []
        self._undoing = map(self._undo, self._before)  # gives one result, once there is something to undo

    def entered(self, end: Callable[..., None]) -> None:
        """Undo it when `end` dies."""
        self._renew()
        self._watch = weakref.ref(end, partial(next, self._undoing))

    def __enter__(self) -> T:
        self._before.extend(map(self._change, (self._value,)))  # set and noted, or neither
        return self._result

    @at_end
    def __exit__(self, *_: object) -> None:
        next(self._undoing, None)


def all_of(steps: Iterable[object]) -> None:
    """Run through an iterator that is made of functions in C alone: all of it, without interrupts."""
    deque(steps, maxlen=0)


def under(lock: Any, function: Callable[..., T], *args: Any) -> T:
    """Call a function while a lock is held."""
    # On one line, between whose parts neither signals nor tracers come.
    # fmt: off
    with lock: return function(*args)  # noqa: E701
    # fmt: on
