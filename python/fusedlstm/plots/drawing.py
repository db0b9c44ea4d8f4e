"""What all pictures share: figures with title and note, colours, labels at lines, PNG files."""

from __future__ import annotations

import textwrap
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.base import checks
from fusedlstm.io.atomic import write_file
from fusedlstm.io.endings import PICTURES, check_ending
from fusedlstm.plots.placing import apart

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

# Okabe and Ito's palette, which readers with any kind of colour vision can tell apart.
COLOURS: Mapping[str, str] = MappingProxyType(
    {
        "blue": "#0072B2",
        "vermilion": "#D55E00",
        "green": "#009E73",
        "purple": "#CC79A7",
        "orange": "#E69F00",
        "sky": "#56B4E9",
        "black": "#000000",
        "yellow": "#F0E442",
    }
)

_TITLE_POINTS, _NOTE_POINTS, _LABEL_POINTS = 13, 8, 9
_MARGIN = 0.12  # inches of white at the edges
# The width of a letter, as a share of the font's size; wide letters in bold need about so much.
_LETTER = 0.6
_LINE_LABEL = "fusedlstm-line-label"


def figure(title: str, note: str, size: tuple[float, float] = (10, 5)) -> Figure:
    """Return an empty figure with a title at its top left and a note under the picture.

    Parameters
    ----------
    title : str
        The finding, in a sentence: what a reader should see. Long ones are broken into lines.
    note : str
        Where it comes from, small and grey: model, seed, data set; may be empty.
    size : pair of float
        Width and height in inches.

    Returns
    -------
    matplotlib.figure.Figure
        With a layout that makes room for what is drawn: ``figure.subplots()`` gives axes.

    Raises
    ------
    ImportError
        When matplotlib is not installed.
    TypeError, ValueError
        When title or note is no text, or a size is not a positive number.
    """
    for name, text in (("title", title), ("note", note)):
        if not isinstance(text, str):
            raise TypeError(f"{name}: expected a text, got {type(text).__name__}")
    if not isinstance(size, tuple | list) or len(size) != 2:
        raise ValueError(f"size: expected a width and a height in inches, got {size!r}")
    width, height = (checks.positive(length, "size") for length in size)
    try:
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError as error:
        raise ImportError('pictures need matplotlib: pip install "fusedlstm[report]"') from error
    layout = ConstrainedLayoutEngine(w_pad=_MARGIN, h_pad=0.1)
    made = Figure(figsize=(width, height), dpi=150, layout=layout)
    left = _MARGIN / width
    # Without parse_math, a text with two dollar signs would be read as a formula.
    if title:
        made.suptitle(
            _broken(title, width, _TITLE_POINTS),
            x=left,
            ha="left",
            fontsize=_TITLE_POINTS,
            fontweight="bold",
            parse_math=False,
        )
    if note:
        made.supxlabel(
            _broken(note, width, _NOTE_POINTS),
            x=left,
            ha="left",
            fontsize=_NOTE_POINTS,
            color="0.4",
            parse_math=False,
        )
    return made


def _broken(text: str, width: float, points: float) -> str:
    """Break a text into lines that fit into a width in inches."""
    letters = max(20, int((width - 2 * _MARGIN) * 72 / (points * _LETTER)))
    return "\n".join(line for part in text.splitlines() for line in textwrap.wrap(part, letters) or [""])


def save(figure: Figure, path: str | os.PathLike[str], *, dpi: float = 150) -> Path:
    """Write a figure as PNG: the file is complete, or as it was before.

    Labels of `label_line` that would lie over each other are moved apart first, up and down.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Any figure, not only those of this module.
    path : path-like
        The file, whose name ends in ``.png``.
    dpi : float
        Pixels to the inch.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    OSError
        When the file cannot be written.
    TypeError, ValueError
        When it is no path, its name has another ending, or `dpi` is not a positive number.
    """
    check_ending(path, PICTURES)
    checks.positive(dpi, "dpi")
    spread_labels(figure)
    picture = BytesIO()
    figure.savefig(picture, format="png", facecolor="white", dpi=dpi)
    write_file(path, [picture.getbuffer()])
    return Path(path)


def label_line(axes: Axes, x: float, y: float, text: str, colour: str) -> Annotation:
    """Write a line's name beside its end, in its colour, in the place of a legend.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where the line is.
    x, y : float
        The line's end in the axes' data coordinates; the text begins right of it and may leave the axes.
    text : str
        The name, with the last value where that helps.
    colour : str
        Any colour of matplotlib's, mostly one of `COLOURS`.

    Returns
    -------
    matplotlib.text.Annotation
        The text. `save` moves those apart that lie over each other.
    """
    return axes.annotate(
        text,
        (x, y),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        color=colour,
        fontsize=_LABEL_POINTS,
        annotation_clip=False,
        parse_math=False,
        gid=_LINE_LABEL,
    )


def clean(axes: Axes) -> None:
    """Give axes a faint grid behind what is drawn, and no frame above and at the right."""
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def whole_numbers(axis: Axis) -> None:
    """Put an axis's marks at whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))


def spread_labels(figure: Figure) -> None:
    """Move labels of `label_line` up and down until none of an axes' lies over another."""
    from matplotlib.text import Annotation

    by_axes = {
        axes: [text for text in axes.texts if isinstance(text, Annotation) and text.get_gid() == _LINE_LABEL]
        for axes in figure.axes
    }
    if not any(len(labels) > 1 for labels in by_axes.values()):
        return
    figure.draw_without_rendering()  # Only now it is known where they are.
    for axes, labels in by_axes.items():
        whole = axes.get_window_extent()
        boxes = [label.get_window_extent() for label in labels]
        for group in _groups(boxes):
            heights = np.array([boxes[index].height for index in group])
            centres = np.array([(boxes[index].y0 + boxes[index].y1) / 2 for index in group])
            places = apart(centres, heights)
            if len(group) > 1:
                # Those that were moved stay beside the axes, as far as there is room.
                low, high = places[0] - heights[0] / 2, places[-1] + heights[-1] / 2
                places += max(0.0, whole.y0 - low) - max(0.0, high - whole.y1)
            for index, moved in zip(group, places - centres, strict=True):
                right, up = labels[index].xyann
                labels[index].xyann = (right, up + moved * 72 / figure.dpi)


def _groups(boxes: list[Any]) -> list[list[int]]:
    """Return which boxes lie, directly or over others, above each other, each group from its lowest up."""
    left = sorted(range(len(boxes)), key=lambda index: boxes[index].x0)
    groups: list[list[int]] = []
    end = -np.inf
    for index in left:
        if boxes[index].x0 >= end:
            groups.append([])
        groups[-1].append(index)
        end = max(end, boxes[index].x1)
    return [sorted(group, key=lambda index: float(boxes[index].y0 + boxes[index].y1)) for group in groups]
