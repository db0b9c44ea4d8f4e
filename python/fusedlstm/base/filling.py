"""Layers whose weights are there already, in a file or in another program's model.

A layer that is made and built inside of `filling` draws nothing: its weights wait for their values, and its
random streams take a seed only when they are first used. So loading takes no longer than copying, leaves the
generator of `fusedlstm.utils.set_random_seed` alone, and takes no more memory than there are values for.
"""

from __future__ import annotations

import math
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.base.held import Setting

if TYPE_CHECKING:
    from fusedlstm.base.types import Array


class _Room:
    """Memory for values that are known to exist.

    Parameters
    ----------
    numbers : float
        How many numbers there are.
    """

    def __init__(self, numbers: float) -> None:
        self.numbers = self.left = numbers

    def take(self, shape: tuple[int, ...], dtype: str, path: str) -> Array:
        """Return zeros without memory of their own, or raise `ValueError` if too few numbers are left."""
        size = math.prod(shape)
        if size > self.left:
            raise ValueError(
                f"weights: expected layers for the {self.numbers} numbers that there are, got {path} of "
                f"shape {shape} when {self.left} were left"
            )
        self.left -= size
        zero: Any = np.zeros((), dtype)
        return np.broadcast_to(zero, shape)


_room: ContextVar[_Room | None] = ContextVar("room", default=None)


def room() -> _Room | None:
    """Return what the layers of this thread are filled from; None where they draw their start values."""
    return _room.get()


def filling(numbers: float = math.inf) -> Setting[None]:
    """Make layers in the block, of this thread, wait for their weights.

    Parameters
    ----------
    numbers : float
        How many numbers all weights have together at most. Needed where a description says the sizes, and
        not the arrays themselves: only as much as the arrays hold may be asked for.

    Raises
    ------
    ValueError
        In the block, when a layer is built whose weights are more.
    """
    return Setting(_room.set, _room.reset, _Room(numbers))
