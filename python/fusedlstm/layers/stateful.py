"""States that layers keep from batch to batch: which layers have some, and how they stay in step."""

from __future__ import annotations

import weakref
from contextlib import nullcontext
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Any

from fusedlstm.base.held import at_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from fusedlstm.layers.lstm import LSTM

_NOTHING = nullcontext()


def stateful_layers(layers: Iterable[Any]) -> Iterator[LSTM]:
    """Yield the layers that keep states, also those inside of others."""
    for layer in layers:
        if getattr(layer, "stateful", False) and hasattr(layer, "kept_batch"):
            yield layer
        elif inner := layer._layers:
            yield from stateful_layers(inner)


def in_step(layers: Iterable[Any]) -> AbstractContextManager[object]:
    """Return a context that changes the states of all these layers, or of none if its body raises."""
    found = list(stateful_layers(layers))
    return _InStep(found) if found else _NOTHING


class _InStep:
    """Puts the states back that layers had, unless its body came to its end.

    KeyboardInterrupt may come anywhere, so that nothing is left to code that runs after it: the states go
    back in C (`held`), and the one call in C that empties the list of layers makes the new ones stay.
    """

    def __init__(self, layers: list[LSTM]) -> None:
        self._layers = layers

    def entered(self, end: Callable[..., None]) -> None:
        """Put the states back when `end` dies."""
        before = [layer._last_states for layer in self._layers]
        changes = map(setattr, self._layers, repeat("_last_states"), before)
        # setattr returns None: the first call of `next` runs through all of them.
        self._watch = weakref.ref(end, partial(next, filter(None, changes)))

    def __enter__(self) -> None:
        pass

    @at_end
    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._layers.clear()
