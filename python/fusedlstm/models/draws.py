"""`Draws`: the batches that are drawn from an iterable, and drawn again after an interruption."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

import numpy as np

from fusedlstm.base import devices

# Numbers of a batch that tell it from others: enough for that, and few enough to cost nothing.
_LOOKED_AT = 4096


class Draws:
    """Counts what is drawn from an iterable, pass by pass.

    Parameters
    ----------
    data : iterable
        Yields batches: always new ones, from the first on, or, an iterator, what it has left.
    name : str
        The argument's name, for messages.

    Attributes
    ----------
    is_iterator : bool
        Whether there is one pass alone.
    held : iterator or None
        A pass whose first batch was looked at, and will come again.
    """

    def __init__(self, data: Any, name: str) -> None:
        self._data, self._name = data, name
        self.is_iterator = isinstance(data, Iterator)
        self.held: Iterator[Any] | None = None
        # Of each pass, or of all that an iterator has, how many batches were drawn, and whether it was asked
        # for one more and had none.
        self._counts: list[list[int]] = []
        self._last: Any = None

    def hold(self) -> list[Any]:
        """Look at the first batch of a pass, which the pass to come yields again; it may be none."""
        batches = self._drawn()
        first = list(islice(batches, 1))
        self.held = chain(first, batches)
        return first

    def begin(self) -> Iterator[Any]:
        """Return the batches of a new pass, or of the one whose first was looked at."""
        held, self.held = self.held, None
        return self._drawn() if held is None else held

    def _drawn(self) -> Iterator[Any]:
        if not (self.is_iterator and self._counts):
            self._counts.append([0, 0])
        counts = self._counts[-1]
        for batch in self._data:
            counts[0] += 1
            self._last = batch
            yield batch
        counts[1] = 1

    def get_state(self) -> dict[str, Any]:
        """Return what was drawn so far, with a digest of the last batch."""
        return {
            "counts": [list(pair) for pair in self._counts],
            "held": self.held is not None,
            "last": _digest(self._last),
        }

    def set_state(self, state: dict[str, Any]) -> Iterator[Any]:
        """Draw what was drawn before `get_state` was called, and return what the last pass has left.

        Raises
        ------
        ValueError
            If there are fewer or more batches than there were, or the last one is another.
        """
        batches = self.begin()
        for number, (count, ended) in enumerate(state["counts"]):
            if number:
                batches = self._drawn()
            for drawn in range(count):
                if not list(islice(batches, 1)):
                    raise ValueError(self._message(f"it ends after {drawn} of {count} batches"))
            if ended and list(islice(batches, 1)):
                raise ValueError(self._message(f"it has more than {count} batches"))
        if _digest(self._last) != state["last"]:
            raise ValueError(self._message(f"batch {count - 1} of pass {number} is another one"))
        if state["held"]:
            self.held = chain([self._last], batches)
        return batches

    def _message(self, reason: str) -> str:
        return (
            f"{self._name}: expected the batches of the training that goes on, drawn and skipped once more, "
            f"but {reason}: {type(self._data).__name__} has to be made anew, with the same seeds, or be a "
            "PyDataset"
        )


def _digest(batch: Any) -> str:
    """Return a digest of shapes, types and some numbers of a batch."""
    digest = hashlib.sha256()

    def take(part: Any) -> None:
        if isinstance(part, dict):
            part = [one for pair in sorted(part.items()) for one in pair]
        if isinstance(part, list | tuple):
            for one in part:
                take(one)
            return
        array = np.asarray(devices.to_host(part))
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        if array.dtype.hasobject:  # None in the place of weights, whose bytes are an address
            return
        flat = array.reshape(-1)
        digest.update(flat[:: max(1, flat.size // _LOOKED_AT)].tobytes())

    take(batch)
    return digest.hexdigest()
