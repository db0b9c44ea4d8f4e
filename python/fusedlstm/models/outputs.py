"""`Outputs`: what `predict` gathers from its batches."""

from __future__ import annotations

from typing import Any

import numpy as np

from fusedlstm.base import devices


class Outputs:
    """The outputs of batches, one after the other.

    Parameters
    ----------
    rows : int or None
        How many samples there will be at most, for which memory is then taken once; None if that is not
        known before the last batch.
    """

    def __init__(self, rows: int | None) -> None:
        self._rows = rows
        self._arrays: list[Any] = []
        self._parts: list[list[Any]] = []
        self._done, self._last = 0, slice(0)

    def add(self, outputs: list[Any], number: int) -> None:
        """Take the outputs of the batch of this number in.

        Raises
        ------
        ValueError
            If samples have other shapes than those of the first batch.
        """
        if self._rows is None:
            self._parts.append(outputs)
            for one, y in zip(self._parts[0], outputs, strict=True):
                if one.shape[1:] != y.shape[1:]:
                    raise ValueError(
                        f"x: batch {number}: expected outputs of shape {(None, *one.shape[1:])} like the "
                        f"first batch's, got {(None, *y.shape[1:])}"
                    )
            return
        if not self._arrays:
            for y in outputs:
                self._arrays.append(devices.place_of(y).empty((self._rows, *y.shape[1:]), y.dtype))
        self._last = slice(self._done, self._done + len(outputs[0]))
        for array, y in zip(self._arrays, outputs, strict=True):
            array[self._last] = y
        self._done = self._last.stop

    def last(self) -> list[Any]:
        """Return what was taken in last, as it is kept."""
        return self._parts[-1] if self._rows is None else [array[self._last] for array in self._arrays]

    def all(self) -> list[Any]:
        """Return all that were taken in, in one array for each output."""
        if self._rows is None:
            return [np.concatenate(some) for some in zip(*self._parts, strict=True)]
        return self._arrays if self._done == self._rows else [array[: self._done] for array in self._arrays]
