"""`gates`: heat maps of an LSTM's gates and states over a text or a series, unit by unit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from fusedlstm.base import checks
from fusedlstm.plots.drawing import COLOURS, figure, whole_numbers
from fusedlstm.plots.parts import NAMES, Part, chosen_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fusedlstm.ops import LSTMStates

_PARTS: tuple[Part, ...] = ("i", "f", "o", "c")
# Both run from dark to light, or over a light middle, for readers with any kind of colour vision.
_FROM_ZERO, _AROUND_ZERO = "cividis", "PuOr"
_NOTHING = "0.85"  # where a step is not real
_WIDEST = 16.0  # inches
_LABEL_INCHES = 0.14  # from one token to the next, so that they do not touch


def gates(
    states: LSTMStates,
    title: str,
    note: str,
    *,
    over: Sequence[str] | npt.ArrayLike | None = None,
    row: int = 0,
    units: Sequence[int] | None = None,
    parts: Sequence[Part] = _PARTS,
    size: tuple[float, float] | None = None,
) -> Figure:
    """Draw gates and states of every unit and step as heat maps below each other.

    Parameters
    ----------
    states : LSTMStates
        From ``layer.trace(x)``.
    title, note, size
        As of `figure`; the size fits the number of steps by default.
    over : sequence of str (T,), or array_like (T,) or (T, features), optional
        What was read: the tokens, which become the labels of the time axis, or a series, which is drawn
        above the heat maps. By default the steps are numbered.
    row : int
        Which sequence of the batch.
    units : sequence of int, optional
        Which units, in which order; all by default.
    parts : sequence of {"i", "f", "g", "o", "c", "h"}
        Which heat maps, from the top.

    Returns
    -------
    matplotlib.figure.Figure
        Gates run from 0, dark, to 1, light; candidate and states have 0 in the middle of their colours.
        Steps that are not real are grey.

    Raises
    ------
    ImportError
        When matplotlib is not installed.
    TypeError, ValueError
        When an argument does not fit the states.
    """
    if not parts or not set(parts) <= set(get_args(Part)):
        raise ValueError(f"parts: expected some of {', '.join(get_args(Part))}, got {parts!r:.80}")
    drawn = [(part, chosen_row(states, part, row)) for part in parts]
    steps = len(drawn[0][1])
    if not steps:
        raise ValueError("states: expected at least one step, got none")
    tokens, series = _read(over, steps)
    height = 0.9 + 1.5 * len(drawn) + (1.0 if series is not None else 0) + (0.5 if tokens else 0)
    made = figure(title, note, size or (min(max(6.0, 2 + _LABEL_INCHES * steps), _WIDEST), height))
    heights = [1.5] * len(drawn) if series is None else [1.0, *(1.5,) * len(drawn)]
    panels = made.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights).ravel()
    if series is not None:
        colours = list(COLOURS.values())
        for index, values in enumerate(series.T):
            panels[0].plot(np.arange(steps), values, color=colours[index % len(colours)], linewidth=1.2)
        panels[0].set_ylabel("input")
        panels[0].spines[["top", "right"]].set_visible(False)
    for axes, (part, values) in zip(panels[-len(drawn) :], drawn, strict=True):
        _heat_map(made, axes, part, values, units)
    _time_axis(panels[-1], steps, tokens, made.get_size_inches()[0])
    return made


def _read(
    over: Sequence[str] | npt.ArrayLike | None, steps: int
) -> tuple[list[str] | None, np.ndarray[Any, np.dtype[np.float64]] | None]:
    """Return what was read as tokens, or as a series (T, features), or as neither."""
    if over is None:
        return None, None
    if isinstance(over, str):
        over = list(over)
    if isinstance(over, list | tuple) and all(isinstance(token, str) for token in over):
        if len(over) != steps:
            raise ValueError(f"over: expected {steps} tokens, one for each step, got {len(over)}")
        return [str(token) for token in over], None
    series = checks.numeric(over, "over").astype(np.float64)
    if series.ndim not in (1, 2) or len(series) != steps:
        raise ValueError(
            f"over: expected shape ({steps},) or ({steps}, features), one value for each step, "
            f"got {series.shape}"
        )
    return None, series.reshape(steps, -1)


def _heat_map(made: Figure, axes: Axes, part: Part, values: Any, units: Sequence[int] | None) -> None:
    """Draw values (T, units) of a part, a unit a line."""
    numbers = list(range(values.shape[1])) if units is None else list(units)
    outside = [unit for unit in numbers if not 0 <= unit < values.shape[1]]
    if not numbers or outside:
        got = f"{outside[0]}" if outside else "none"
        raise ValueError(f"units: expected numbers from 0 to {values.shape[1] - 1}, got {got}")
    shown = values[:, numbers].T.astype(np.float64)
    largest = float(np.nanmax(np.abs(shown), initial=0.0)) or 1.0
    gate = part in "ifo" and np.nanmin(shown, initial=0.0) >= 0
    low, high = (0.0, max(1.0, largest)) if gate else (-largest, largest)
    image = axes.imshow(
        np.ma.masked_invalid(shown),
        aspect="auto",
        interpolation="nearest",
        cmap=_FROM_ZERO if gate else _AROUND_ZERO,
        vmin=low,
        vmax=high,
    )
    axes.set_facecolor(_NOTHING)
    axes.set_ylabel("unit")
    axes.set_title(NAMES[part], loc="left", fontsize=10)
    if units is None:
        whole_numbers(axes.yaxis)
    else:
        axes.set_yticks(range(len(numbers)), [str(unit) for unit in numbers], fontsize=8)
    bar = made.colorbar(image, ax=axes, pad=0.01, fraction=0.03)
    bar.outline.set_visible(False)


def _time_axis(axes: Axes, steps: int, tokens: list[str] | None, width: float) -> None:
    if tokens is None:
        axes.set_xlabel("step")
        whole_numbers(axes.xaxis)
        return
    # Single letters stand upright; spaces would be invisible.
    upright = max(map(len, tokens)) <= 1
    labels = [{" ": "\u2423", "\n": "\u21b5", "\t": "\u21e5"}.get(token, token) for token in tokens]
    every = max(1, math.ceil(_LABEL_INCHES * steps / (width - 2)))
    shown = range(0, steps, every)
    axes.set_xticks(shown, labels[::every], rotation=0 if upright else 90, fontsize=8)
    for label in axes.get_xticklabels():
        label.set_parse_math(False)
    axes.tick_params(axis="x", length=2)
    axes.set_xlabel("token" if every == 1 else f"token (1 of {every} is named)")
