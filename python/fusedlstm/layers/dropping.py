"""Dropout of a batch, or of shards of which each has a seed of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fusedlstm import ops

if TYPE_CHECKING:
    from fusedlstm.base.shards import Seeds
    from fusedlstm.base.types import Array


def drop(x: Array, rate: float, seed: int | Seeds, *, share_steps: bool = False) -> Array:
    """Return `ops.dropout`'s result; of several seeds, for each group of rows that of its own."""
    if isinstance(seed, int):
        return ops.dropout(x, rate, seed, share_steps=share_steps)
    out = np.empty_like(x, order="C")
    for rows, own in seed.slices():
        ops.dropout(x[rows], rate, own, share_steps=share_steps, out=out[rows])
    return out
