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
        self._done = 0

    def add(self, outputs: list[Any], number: int) -> list[Any]:
        """Take the outputs of the batch of this number in, and return them as they are kept.

        Raises
        ------
        ValueError
            If samples have other shapes than those of the first batch.
        """
        if self._rows is None:
            self._parts.append(outputs)
            first = self._parts[0]
        else:
            if not self._arrays:
                self._arrays = [
                    devices.place_of(y).empty((self._rows, *y.shape[1:]), y.dtype) for y in outputs
                ]
            first = self._arrays
        for one, y in zip(first, outputs, strict=True):
            if one.shape[1:] != y.shape[1:]:
                raise ValueError(
                    f"x: batch {number}: expected outputs of shape {(None, *one.shape[1:])} like the first "
                    f"batch's, got {(None, *y.shape[1:])}"
                )
        if self._rows is None:
            return outputs
        rows = slice(self._done, self._done + len(outputs[0]))
        self._done = rows.stop
        kept = []
        for array, y in zip(self._arrays, outputs, strict=True):
            array[rows] = y
            kept.append(array[rows])
        return kept

    def all(self) -> list[Any]:
        """Return all that were taken in, in one array for each output."""
        if self._rows is None:
            return [np.concatenate(some) for some in zip(*self._parts, strict=True)]
        return self._arrays if self._done == self._rows else [array[: self._done] for array in self._arrays]
