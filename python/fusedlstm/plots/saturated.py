"""Saturated gates and dead units: in numbers, and as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fusedlstm.base import checks
from fusedlstm.plots.drawing import COLOURS, clean, figure
from fusedlstm.plots.parts import NAMES, checked

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from fusedlstm.ops import LSTMStates

    Numbers = NDArray[np.float64]

_GATES = ("i", "f", "o")


class Saturation(NamedTuple):
    """What `measure_saturation` returns.

    Attributes
    ----------
    closed, open : array (3, H)
        Share of the real steps in which the gates i, f and o of each unit are below ``low``, and above
        ``high``.
    ranges : array (H,), or (R,) with a projection
        How far each number of h moves: its largest value less its smallest, over all real steps.
    dead : array of int
        The numbers of those that move less than the limit: what follows sees a constant there.
    low, high, dead_below : float
        The limits.
    """

    closed: Numbers
    open: Numbers
    ranges: Numbers
    dead: NDArray[np.int64]
    low: float
    high: float
    dead_below: float


def measure_saturation(
    states: LSTMStates, low: float = 0.1, high: float = 0.9, dead_below: float = 0.01
) -> Saturation:
    """Tell how often each unit's gates are shut or wide open, and which units do nothing.

    Parameters
    ----------
    states : LSTMStates
        From ``layer.trace(x)``, of as many sequences as there are.
    low, high : float
        A gate is closed below the one, and open above the other.
    dead_below : float
        A number of h that moves less is dead.

    Returns
    -------
    Saturation

    Raises
    ------
    TypeError, ValueError
        When states are something else, have no real step, or a limit is no number in [0, 1].
    """
    for name, limit in (("low", low), ("high", high), ("dead_below", dead_below)):
        checks.share(limit, name)
    real = ~np.isnan(checked(states).i).any(axis=-1)
    if not real.any():
        raise ValueError("states: expected at least one real step, got none")
    gates = np.stack([getattr(states, name)[real].astype(np.float64) for name in _GATES])
    h = states.h[real].astype(np.float64)
    ranges = h.max(axis=0) - h.min(axis=0)
    return Saturation(
        (gates < low).mean(axis=1),
        (gates > high).mean(axis=1),
        ranges,
        np.flatnonzero(ranges < dead_below),
        low,
        high,
        dead_below,
    )


def saturation(
    states: LSTMStates,
    title: str,
    note: str,
    *,
    low: float = 0.1,
    high: float = 0.9,
    dead_below: float = 0.01,
    size: tuple[float, float] = (12, 4.2),
) -> Figure:
    """Draw, for each unit, how often its gates are shut or wide open, and how far its h moves.

    A unit in the first three panels lies right when its gate is mostly closed, at the top when it is mostly
    open, and in the corner at the bottom left when it is in between, where gradients pass (after Karpathy,
    Johnson and Fei-Fei 2015). The last one has the units in order of their range.

    Parameters
    ----------
    states, low, high, dead_below
        As of `measure_saturation`, which gives the numbers.
    title, note, size
        As of `figure`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        When matplotlib is not installed.
    TypeError, ValueError
        As of `measure_saturation` and `figure`.
    """
    found = measure_saturation(states, low, high, dead_below)
    made = figure(title, note, size)
    panels = made.subplots(1, 4)
    for axes, name, closed, opened in zip(panels, _GATES, found.closed, found.open, strict=False):
        _gate(axes, NAMES[name], 100 * closed, 100 * opened, found)
    panels[0].set_ylabel(f"% of steps open (> {high:g})")
    _ranges(panels[3], found)
    return made


def _gate(axes: Axes, name: str, closed: Any, opened: Any, found: Saturation) -> None:
    axes.plot([0, 100], [100, 0], color="0.8", linewidth=0.8, zorder=0)  # Both together are at most all.
    axes.scatter(closed, opened, s=14, color=COLOURS["blue"], alpha=0.5, linewidths=0, clip_on=False)
    mean = f"all units:\n{closed.mean():.0f} % closed\n{opened.mean():.0f} % open"
    axes.text(0.97, 0.97, mean, transform=axes.transAxes, ha="right", va="top", fontsize=9)
    axes.set(xlim=(0, 100), ylim=(0, 100), xlabel=f"% of steps closed (< {found.low:g})")
    axes.set_title(name, fontsize=10, loc="left")
    clean(axes)


def _ranges(axes: Axes, found: Saturation) -> None:
    order = np.sort(found.ranges)
    limit = found.dead_below
    # Zero has no place on a logarithmic axis.
    floor = limit / 10
    heights = np.maximum(order, floor)
    places = np.arange(1, len(order) + 1)
    dead = order < limit
    for chosen, colour in ((~dead, COLOURS["blue"]), (dead, COLOURS["vermilion"])):
        axes.scatter(places[chosen], heights[chosen], s=14, color=colour, linewidths=0, clip_on=False)
    axes.axhline(limit, color="0.4", linewidth=0.8, linestyle="--")
    axes.set_yscale("log")
    axes.set_xlim(0, len(order) + 1)
    axes.set_ylim(floor * 0.9, max(2.0, float(heights.max()) * 1.2))
    axes.set_xlabel("units, from the stillest")
    axes.set_ylabel("largest h less smallest")
    axes.set_title(f"{len(found.dead)} of {len(order)} units dead (< {limit:g})", fontsize=10, loc="left")
    clean(axes)
