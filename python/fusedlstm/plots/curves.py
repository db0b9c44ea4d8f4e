"""`training_curves`: loss and metrics against the epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.plots.drawing import COLOURS, clean, figure, label_line, whole_numbers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 3
_FEW = 40  # epochs, up to which each has a mark


def training_curves(
    history: Mapping[str, Sequence[float]] | Any,
    title: str,
    note: str,
    *,
    size: tuple[float, float] | None = None,
) -> Figure:
    """Draw loss and metrics of a training against the epoch.

    Parameters
    ----------
    history : History or mapping
        What ``model.fit`` returns, or its ``history``: lists with one number for each epoch, whose names
        begin with ``val_`` for validation.
    title, note, size
        As of `figure`; the size fits the number of panels by default.

    Returns
    -------
    matplotlib.figure.Figure
        With a panel for each name, loss first, and at the end of each curve its last number; accuracies are
        in percent.

    Raises
    ------
    ImportError
        When matplotlib is not installed.
    TypeError
        When history is something else.
    """
    curves = getattr(history, "history", history)
    if not hasattr(curves, "items"):
        raise TypeError(f"history: expected what fit returns, or its history, got {type(history).__name__}")
    names = list(dict.fromkeys(name.removeprefix("val_") for name in curves)) or ["loss"]
    names.sort(key=lambda name: name != "loss")
    columns = min(len(names), _COLUMNS)
    rows = -(-len(names) // columns)
    made = figure(title, note, size or (max(6.0, 5.0 * columns), 1.0 + 3.4 * rows))
    panels = made.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    for axes, name in zip(panels, names, strict=False):
        _panel(axes, name, curves)
    return made


def _panel(axes: Axes, name: str, curves: Mapping[str, Sequence[float]]) -> None:
    percent = name == "acc" or name.endswith("accuracy")
    factor, digits, unit = (100.0, 2, " %") if percent else (1.0, 4, "")
    epochs = 1
    for key, label, colour, marker in (
        (name, "training", COLOURS["blue"], "o"),
        (f"val_{name}", "validation", COLOURS["vermilion"], "s"),
    ):
        values = factor * np.asarray(curves.get(key, ()), dtype=np.float64)
        if not len(values):
            continue
        epochs = max(epochs, len(values))
        axes.plot(
            np.arange(1, len(values) + 1),
            values,
            color=colour,
            marker=marker if len(values) <= _FEW else "",
            markersize=4,
        )
        finite = np.flatnonzero(np.isfinite(values))
        if len(finite):
            end = int(finite[-1])
            label_line(axes, end + 1, float(values[end]), f"{label} {values[-1]:.{digits}f}{unit}", colour)
    axes.set_xlabel("epoch")
    axes.set_ylabel(name + (" (%)" if percent else ""))
    axes.set_xlim(0.5, epochs + 0.5)
    whole_numbers(axes.xaxis)
    axes.margins(y=0.08)
    clean(axes)
