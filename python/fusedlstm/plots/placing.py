"""Places for what would lie over each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def apart(centres: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move things on a line just as far as they need to not overlap.

    Neighbours that are too close form a block around the mean of where its members want to be, and blocks
    that touch become one: of all places without overlaps those with the least sum of squared moves.

    Parameters
    ----------
    centres : array (N,)
        Where they want to be, in ascending order.
    sizes : array (N,)
        Their lengths.

    Returns
    -------
    array (N,)
        New centres, in the same order.
    """
    needed = np.concatenate([[0.0], np.cumsum((sizes[1:] + sizes[:-1]) / 2)])[: len(centres)]
    wanted = centres - needed  # Where the first one of a block would be for each.
    blocks: list[list[float]] = []  # the sum of what its members want, and their number
    for value in wanted:
        blocks.append([float(value), 1.0])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += count
    first: NDArray[np.float64] = np.repeat([total / n for total, n in blocks], [int(n) for _, n in blocks])
    return np.asarray(first + needed)
