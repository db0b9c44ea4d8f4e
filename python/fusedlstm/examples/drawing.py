"""What the pictures of several examples need beside `fusedlstm.plots`."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def shortened(text: str, most: int) -> str:
    """Return a text of a user's, such as a column's name, with an ellipsis where it has too many letters.

    Wide letters, as of Chinese, count as two.
    """
    ends = np.cumsum([2 if unicodedata.east_asian_width(letter) in "FW" else 1 for letter in text])
    if not len(ends) or ends[-1] <= most:
        return text
    return f"{text[: int(np.searchsorted(ends, most, side='left'))].rstrip()}…"


def plain_logarithms(axes: Axes, which: str) -> None:
    """Put plain numbers on a logarithmic axis, four to eight of them where its data allow that."""
    axis = axes.yaxis if which == "y" else axes.xaxis
    low, high = sorted(axes.get_ylim() if which == "y" else axes.get_xlim())
    powers = np.arange(np.floor(np.log10(low)) - 1, np.ceil(np.log10(high)) + 1)
    coarse = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7))
    for steps in (*coarse, *(np.arange(1, 10, step) for step in (0.5, 0.1, 0.01, 0.001))):
        ticks = [float(f"{step * 10**power:.6g}") for power in powers for step in steps]
        shown = [tick for tick in ticks if low <= tick <= high]
        if len(shown) >= 4:
            break
    axis.set_ticks(shown[:: -(-len(shown) // 8)] or [float(f"{np.sqrt(low * high):.3g}")])
    axis.set_ticks([], minor=True)
    axis.set_major_formatter("{x:g}")
