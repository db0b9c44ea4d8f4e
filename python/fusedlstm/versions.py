"""Which version of the weights a call sees while other threads change them.

A call on a model or layer, `reading`, sees all weights as they were when it began, and waits at most for a
change that is under way at that moment. A change of several weights, `writing`, is made in place if no other
thread reads; else into new arrays, which take the place of the old ones together when all are done. Calls
that run keep the old ones. So neither waits for the other to end, and a program with one thread pays for a
look at two empty collections.

Nothing here is a part of models, which are copied and pickled without it.
"""

from __future__ import annotations

import os
import threading
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fusedlstm.variable import Array, Variable

# An array, and the number of its version.
Seen = tuple[Any, int]

P = ParamSpec("P")
R = TypeVar("R")

# Calls begin and end without the lock, in an order that makes up for it: a change is in `changing` before it
# looks at `_running`, and a call is in `_running` before it looks at `changing`: one of them sees the other.
_lock = threading.RLock()  # held while changes begin and end
_running: set[Reading] = set()  # calls of all threads
# Empty, both of them, unless threads meet; `Variable` looks at them first.
changing: dict[Variable, Writing] = {}  # under way
keeping: set[Reading] = set()  # calls that see something else than the newest


class Reading:
    """A thread's calls, one inside of the other, as a context that is entered by each; from `reading`.

    Attributes
    ----------
    kept : dict
        What the calls see of variables that other threads have changed since the outermost one began.
    """

    __slots__ = ("_depth", "kept")

    def __init__(self) -> None:
        self._depth = 0
        self.kept: dict[Variable, Seen] = {}

    def __enter__(self) -> None:
        if not self._depth:
            _running.add(self)
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            _running.discard(self)
            if changing or keeping:
                with _lock:  # A change that ends right now may still count on this call.
                    keeping.discard(self)
                    self.kept.clear()

    @property
    def runs(self) -> bool:
        """Whether the thread is inside of such a call."""
        return self._depth > 0


class _Thread(threading.local):
    def __init__(self) -> None:
        self.reading = Reading()


_thread = _Thread()


def reading() -> Reading:
    """Return the context in which the calling thread sees one version, and what it changes itself."""
    return _thread.reading


def of_one_version(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function that reads a model's weights see those of one version."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with reading():
            return function(*args, **kwargs)

    return run


def alone() -> bool:
    """Tell whether no other thread is inside of such a call."""
    return _running <= {_thread.reading}


def change_of(variable: Variable) -> Writing | None:
    """Return the calling thread's own change of a variable that is under way."""
    change = changing.get(variable)
    return change if change is not None and change.owner is _thread.reading else None


def seen(variable: Variable, newest: Seen) -> Seen:
    """Return what the calling thread sees of a variable, whose newest version is given."""
    mine = _thread.reading
    change = change_of(variable)
    if change is not None:
        made = change.made.get(variable)
        return newest if made is None else (made, newest[1])
    if not mine.runs:
        return newest
    with _lock:
        change = changing.get(variable)
        if change is None or not change.in_place:
            return mine.kept.get(variable) or variable.newest()
    # It began before this call, or else it would not be in place; and none in place can begin from now on.
    change.wait()
    with _lock:
        return mine.kept.get(variable) or variable.newest()


class Writing:
    """A change of several variables that other threads' calls see as a whole or not at all; a context.

    Inside, `Variable.writable` and `Variable.assign` write where the change is made. A context in another one
    of the same thread is a part of that. If the body raises, variables with new arrays keep the old ones.

    Attributes
    ----------
    in_place : bool
        Whether the variables' own arrays are written.
    made : dict
        New arrays by variable.
    """

    def __init__(self, variables: Sequence[Variable]) -> None:
        self.owner = _thread.reading
        self.in_place = True
        self.made: dict[Variable, Array] = {}
        self._variables = variables
        self._done = threading.Lock()

    def __enter__(self) -> Writing:
        self._done.acquire()
        while (other := self._begin()) is not None:
            other.wait()
        return self

    def _begin(self) -> Writing | None:
        """Begin, unless another thread is at one of the variables: return its change then."""
        with _lock:
            for variable in self._variables if changing else ():
                other = changing.get(variable)
                if other is not None and other.owner is not self.owner:
                    return other
            own = []
            for variable in self._variables:
                if variable not in changing:  # with a context around this one, or given twice
                    changing[variable] = self
                    own.append(variable)
            self._variables = own
            self.in_place = alone()
        return None

    def __exit__(self, kind: object, *_: object) -> None:
        with _lock:
            if kind is not None and not self.in_place:
                self.made.clear()
            calls = _running - {self.owner}
            for variable, array in self.made.items():
                for call in calls:
                    call.kept.setdefault(variable, variable.newest())
                    keeping.add(call)
                variable.replace(array)
                self.owner.kept.pop(variable, None)
            for variable in self._variables:
                variable.version += 1
                del changing[variable]
        self._done.release()

    def wait(self) -> None:
        """Wait until it is done."""
        with self._done:
            pass


writing = Writing


def _after_fork() -> None:
    """Forget the parent's other threads, with what they were at."""
    global _lock
    _lock = threading.RLock()
    mine = _thread.reading
    for others in (_running, keeping):
        others.intersection_update({mine})
    for variable, change in list(changing.items()):
        if change.owner is not mine:
            del changing[variable]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
