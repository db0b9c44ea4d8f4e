"""The direct use of a layer: what `layer(x, training=True)` leaves for `layer.backward(dy)`.

It is kept by thread and layer outside of layers, which hold nothing of a call.
"""

from __future__ import annotations

import threading
from typing import Any
from weakref import WeakKeyDictionary


class _Calls(threading.local):
    def __init__(self) -> None:
        # By layer, how many calls wait for a backward pass, and what a single one has saved.
        self.waiting: WeakKeyDictionary[Any, tuple[int, Any]] = WeakKeyDictionary()


_calls = _Calls()


def keep(layer: Any, saved: Any) -> None:
    """Keep what a call has saved; of more than one, which `take` refuses, only the number."""
    count = _calls.waiting.get(layer, (0, None))[0]
    _calls.waiting[layer] = (count + 1, None if count else saved)


def take(layer: Any) -> Any:
    """Return what the one call has saved; `RuntimeError` if there was none or more than one."""
    count, saved = _calls.waiting.pop(layer, (0, None))
    if count != 1:
        raise RuntimeError(
            f"{layer.name}: backward needs a forward(x, training=True) before it, one for each, got {count}; "
            "what `forward` returns and `backprop` takes is for any number at a time"
        )
    return saved
