"""Numbers of 16 bits for messages: float32 rounded to bfloat16, half of them to even, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def rounded(values: NDArray[np.float32], out: NDArray[np.uint16]) -> None:
    """Write the upper halves of float32 numbers, rounded, to ``out``; NaN stays NaN."""
    bits = values.view(np.uint32)
    lifted = bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))
    np.copyto(lifted, np.uint32(0x7FC00000), where=np.isnan(values))
    out[...] = lifted >> np.uint32(16)


def widened(halves: NDArray[np.uint16], out: NDArray[np.float32]) -> None:
    """Write what upper halves stand for to ``out``."""
    np.left_shift(halves, np.uint32(16), out=out.view(np.uint32), dtype=np.uint32)
