"""Which version of the weights a call sees while other threads change them.

A call on a model or layer, `reading`, sees all weights as they were when it began, and waits at most for a
change that is under way at that moment. A change of several weights, `writing`, is made in place if no other
thread reads; else into new arrays, which take the place of the old ones together when all are done. Calls
that run keep the old ones. So neither waits for the other to end, and a program with one thread pays for a
look at two empty collections.

KeyboardInterrupt may come between any two lines of Python. Calls and changes therefore count as under way
only as long as a ``with`` statement holds what it ends them with (`held`), a change takes effect in a single
call of functions in C, and what an interrupt leaves is dropped by the next one that finds it (`settle`).

Nothing here is a part of models, which are copied and pickled without it.
"""

from __future__ import annotations

import os
import threading
import weakref
from functools import wraps
from itertools import chain, repeat
from operator import setitem
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from fusedlstm.base import devices
from fusedlstm.base.held import all_of, at_end, under

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from fusedlstm.base.types import Array, Seen, Versioned


P = ParamSpec("P")
R = TypeVar("R")

# Calls begin and end without the lock, in an order that makes up for it: a change is in `changing` before it
# looks at the threads' calls, and a call runs before it looks at `changing`: one of them sees the other.
_lock = threading.RLock()  # held while changes begin and end
_threads: set[weakref.ref[Reading]] = set()  # all that ever began a call or a change, and live
# Empty, both of them, unless threads meet; `Variable` looks at them first.
changing: dict[Versioned, Writing] = {}  # under way
keeping: set[Reading] = set()  # threads whose calls see something else than the newest

PAUSE = 0.01  # seconds after which a thread that waits looks whether a change was interrupted


class Reading:
    """A thread's calls, one inside of the other.

    Attributes
    ----------
    kept : dict
        What the calls see of variables that other threads have changed since the outermost one began.
    inner : RLock
        The context of calls inside of another one, which does nothing.
    """

    __slots__ = ("__weakref__", "_call", "inner", "kept")

    def __init__(self) -> None:
        self.kept: dict[Versioned, Seen] = {}
        self.inner = threading.RLock()
        self.begin()

    def begin(self) -> threading.Lock:
        """Return the context of an outermost call: a lock, which begins and ends in C."""
        call = threading.Lock()
        self._call = weakref.ref(call)
        return call

    @property
    def runs(self) -> bool:
        """Whether the thread is inside of a call: of a ``with`` statement, which alone holds the lock."""
        call = self._call()
        return call is not None and call.locked()


class _Thread(threading.local):
    def __init__(self) -> None:
        self.reading = Reading()
        _threads.add(weakref.ref(self.reading, _threads.discard))


_thread = _Thread()


def reading() -> AbstractContextManager[object]:
    """Return a context in which the calling thread sees one version, and what it changes itself.

    It is for the ``with`` statement that asks for it.
    """
    mine = _thread.reading
    call = mine._call()  # as `runs`, without a call
    if call is not None and call.locked():
        return mine.inner
    if mine.kept:
        settle()
    return mine.begin()


def of_one_version(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function that reads a model's weights see those of one version."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with reading():
            return function(*args, **kwargs)

    return run


def _others(mine: Reading) -> list[Reading]:
    """Return the other threads that are inside of a call."""
    known = [thread() for thread in tuple(_threads)]
    return [thread for thread in known if thread is not None and thread is not mine and thread.runs]


def alone() -> bool:
    """Tell whether no other thread is inside of such a call."""
    mine = _thread.reading
    return len(_threads) == 1 or not _others(mine)


def settle() -> None:
    """Drop what ended calls have kept, and what interrupted changes have left."""
    under(_lock, _settle)


def _settle() -> None:
    for change in set(changing.values()):
        if not change.under_way:
            change.drop()
    for thread in tuple(keeping):
        if not thread.runs:
            thread.kept.clear()
            keeping.discard(thread)


def change_of(variable: Versioned) -> Writing | None:
    """Return the calling thread's own change of a variable that is under way."""
    change = changing.get(variable)
    return change if change is not None and change.owner is _thread.reading and change.under_way else None


def seen(variable: Versioned) -> Seen:
    """Return what the calling thread sees of a variable."""
    mine = _thread.reading
    change = change_of(variable)
    if change is not None:
        array, version = variable.newest()
        return change.made.get(variable, array), version
    # A change in place began before this call; and none in place can begin from now on.
    while isinstance(found := under(_lock, _look, mine, variable), Writing):
        found.wait()
    return found


def _look(mine: Reading, variable: Versioned) -> Seen | Writing:
    """Return what a thread sees of a variable, or the change that it has to wait for."""
    _settle()
    change = changing.get(variable)
    if change is not None and change.in_place and mine.runs:
        return change
    return mine.kept.get(variable) or variable.newest()


class Writing:
    """A change of several variables that other threads' calls see as a whole or not at all; a context.

    Inside, `Variable.writable` and `Variable.assign` write where the change is made. A context in another one
    of the same thread is a part of that. If the body raises, what was assigned is dropped, and variables with
    new arrays keep the old ones.

    Parameters
    ----------
    variables : sequence of Variable
        What is going to be changed.
    drafts : bool
        Whether `writable` gives copies, for a body that changes variables in more than one step.

    Attributes
    ----------
    in_place : bool
        Whether the variables' own arrays are written.
    made : dict
        New content by variable; if not in place, arrays that are the variables' own from the end on.
    """

    def __init__(self, variables: Sequence[Versioned], *, drafts: bool = False) -> None:
        self.owner = _thread.reading
        self.in_place = True
        self.made: dict[Versioned, Array] = {}
        self._targets: dict[Versioned, Array] = {}  # arrays that are written into at the end
        self._moved: dict[Versioned, devices.Device] = {}
        self._drafts = drafts
        self._variables = variables
        self._done = threading.Lock()  # tells those who wait at once

    def entered(self, end: Callable[..., None]) -> None:
        """Count as under way as long as `end` lives."""
        self._end = weakref.ref(end)

    @property
    def under_way(self) -> bool:
        """Whether a ``with`` statement is inside of it."""
        return self._end() is not None

    def __enter__(self) -> Writing:
        self.owner = _thread.reading
        self._done.acquire()
        while (other := under(_lock, self._begin)) is not None:
            other.wait()
        return self

    def _begin(self) -> Writing | None:
        """Begin, unless another thread is at one of the variables: return its change then."""
        variables = self._variables
        if changing:
            _settle()
            for variable in variables:
                other = changing.get(variable)
                if other is not None and other.owner is not self.owner:
                    return other
            # It may be in a context around this one.
            variables = [v for v in variables if v not in changing]
        own = dict.fromkeys(variables, self)  # A variable may be given twice.
        self._variables = list(own)
        changing.update(own)
        self.in_place = alone()
        return None

    def assign(self, variable: Versioned, array: Array, content: Array) -> None:
        """Change a variable's content, from its array to another one, which is not kept."""
        if self.in_place:
            self._targets[variable] = array
        else:
            new = np.empty_like(array)
            new[...] = content
            content = new
        self.made[variable] = content

    def arrays(self, variables: list[Versioned]) -> list[Array]:
        """Return `Variable.writable` of some of the variables."""
        if self.in_place and not self.made and not self._drafts:
            return [variable._data for variable in variables]
        return [variable.writable() for variable in variables]

    def writable(self, variable: Versioned, array: Array) -> Array:
        """Return what an update of a variable is written into, whose array is given."""
        made = self.made.get(variable)
        if made is None and self.in_place and not self._drafts:
            return array
        if made is None or self.in_place:  # what was assigned may be the caller's
            if self.in_place:
                self._targets[variable] = array
            made = self.made[variable] = (array if made is None else made).copy()
        return made

    def move(self, variable: Versioned, array: Array, device: devices.Device) -> None:
        """Let a variable have an array on another device, and no gradient."""
        self._targets.pop(variable, None)
        self._moved[variable] = device
        self.made[variable] = array

    @at_end
    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.drop()
        elif self.in_place:  # All wait who could see it.
            self._finish()
        else:
            under(_lock, self._replace)
        self._done.release()

    def _replace(self) -> None:
        """End it beside other threads' calls, which keep the old arrays."""
        for thread in _others(self.owner):
            keeping.add(thread)
            for variable in self.made:
                thread.kept.setdefault(variable, variable.newest())
        self._finish()

    def drop(self) -> None:
        """End it without what it has made."""
        self.made.clear()
        self._finish()

    def _finish(self) -> None:
        """End it: content and versions are the new ones, and calls see them, without an interrupt between."""
        steps: list[Iterator[object]] = self._contents() if self.made else []
        if self.owner.kept:
            changed = self._variables if self.in_place else tuple(self.made)
            steps.append(map(self.owner.kept.pop, changed, repeat(None)))
        numbers = [v.version + 1 for v in self._variables]
        steps.append(map(setattr, self._variables, repeat("version"), numbers))
        steps.append(map(changing.pop, self._variables, repeat(None)))
        all_of(chain.from_iterable(steps))

    def _contents(self) -> list[Iterator[object]]:
        """Return the steps in which what it has made takes effect."""
        rewritten = [v for v in self.made if v in self._targets]
        targets: list[Any] = [self._targets[v] for v in rewritten]
        new = [v for v in self.made if v not in self._targets]
        arrays = [self.made[v] for v in new]
        moved = [v for v in new if v in self._moved]
        return [
            map(setitem, targets, repeat(...), [self.made[v] for v in rewritten]),
            map(setattr, new, repeat("_data"), arrays),
            map(setattr, new, repeat("_view"), [devices.read_only(a) for a in arrays]),
            map(setattr, moved, repeat("_device"), [self._moved[v] for v in moved]),
            map(setattr, moved, repeat("grad"), repeat(None)),
        ]

    def wait(self) -> None:
        """Wait until it is done, or for a short while."""
        if self._done.acquire(timeout=PAUSE):
            self._done.release()


writing = Writing


def _after_fork() -> None:
    """Forget the parent's other threads, with what they were at."""
    global _lock
    _lock = threading.RLock()
    mine = _thread.reading
    for thread in tuple(_threads):
        if thread() is not mine:
            _threads.discard(thread)
    keeping.intersection_update({mine})
    for change in set(changing.values()):
        if change.owner is not mine:
            change.drop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
