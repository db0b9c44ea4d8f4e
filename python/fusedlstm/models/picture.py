"""`by_matplotlib`: a drawing of a model as a PNG picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

from fusedlstm.models.layout import place

POINTS = 9  # of the text

# Inches from left to right, and from the bottom up.
Point: TypeAlias = tuple[float, float]


class Box(NamedTuple):
    """A layer: lines of text, its colour, and the names of the models that it is drawn inside of."""

    lines: list[str]
    colour: str
    groups: tuple[str, ...]


@dataclass
class Drawing:
    """Boxes, and arrows by their numbers."""

    boxes: list[Box] = field(default_factory=list)
    edges: list[tuple[int, int]] = field(default_factory=list)


def by_matplotlib(drawing: Drawing, rankdir: str, dpi: int) -> bytes:
    """Return the picture that matplotlib makes; `ImportError` if it is not installed."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.textpath import TextPath
    except ImportError as error:
        raise ImportError(
            'pictures need Graphviz (its program dot) or matplotlib: pip install "fusedlstm[report]"'
        ) from error
    upright = rankdir in ("TB", "BT")
    sizes = []
    for box in drawing.boxes:
        width = max(TextPath((0, 0), line, size=POINTS).get_extents().x1 for line in box.lines) / 72 + 0.24
        sizes.append((width, len(box.lines) * POINTS * 1.35 / 72 + 0.14))
    groups = ["/".join(box.groups) for box in drawing.boxes]
    placed = place([size[::-1] if upright else size for size in sizes], drawing.edges, groups)
    sign = 1 if rankdir in ("BT", "LR") else -1

    def at(along: float, across: float) -> Point:
        return (across, sign * along) if upright else (sign * along, -across)

    middles = [at(*one) for one in zip(placed.along, placed.across, strict=True)]
    frames = _frames(drawing, middles, sizes)
    corners = [
        (x + dx * w / 2, y + dy * h / 2)
        for (x, y), (w, h) in zip(middles, sizes, strict=True)
        for dx, dy in ((-1, -1), (1, 1))
    ]
    corners += [corner for _, (x, y, w, h) in frames for corner in ((x, y), (x + w, y + h))]
    corners += [at(*point) for line in placed.lines for point in line]
    left, low = min(x for x, _ in corners) - 0.15, min(y for _, y in corners) - 0.15
    right, high = max(x for x, _ in corners) + 0.15, max(y for _, y in corners) + 0.15
    # Agg draws no picture with a side of 2^16 dots.
    dpi = max(1, min(dpi, int(65000 / max(right - left, high - low))))
    figure = Figure(figsize=(right - left, high - low), dpi=dpi)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(left, right), ylim=(low, high))
    axes.axis("off")
    _draw(axes, drawing, middles, sizes, frames)
    _connect(
        axes, drawing, middles, sizes, [[at(*point) for point in line] for line in placed.lines], upright
    )
    picture = BytesIO()
    figure.savefig(picture, format="png", facecolor="white")
    return picture.getvalue()


def _frames(
    drawing: Drawing, middles: list[Point], sizes: list[Point]
) -> list[tuple[str, tuple[float, float, float, float]]]:
    """Return the names of models inside and the rectangles around their layers, outer ones first."""
    inner = {box.groups[:depth] for box in drawing.boxes for depth in range(1, len(box.groups) + 1)}
    deepest = max(map(len, inner), default=0)
    found = []
    for group in sorted(inner):
        mine = [n for n, box in enumerate(drawing.boxes) if box.groups[: len(group)] == group]
        pad = 0.08 + 0.07 * (deepest - len(group))
        left = min(middles[n][0] - sizes[n][0] / 2 for n in mine) - pad
        low = min(middles[n][1] - sizes[n][1] / 2 for n in mine) - pad
        right = max(middles[n][0] + sizes[n][0] / 2 for n in mine) + pad
        high = max(middles[n][1] + sizes[n][1] / 2 for n in mine) + pad + 0.08
        found.append((group[-1], (left, low, right - left, high - low)))
    return found


def _draw(
    axes: Any,
    drawing: Drawing,
    middles: list[Point],
    sizes: list[Point],
    frames: list[tuple[str, tuple[float, float, float, float]]],
) -> None:
    """Draw frames and boxes with their texts."""
    from matplotlib.patches import FancyBboxPatch, Rectangle

    for name, (x, y, width, height) in frames:
        axes.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor="#888888", linestyle="--"))
        axes.text(x + 0.04, y + height - 0.03, name, fontsize=POINTS - 2, color="#666666", va="top")
    for box, (x, y), (width, height) in zip(drawing.boxes, middles, sizes, strict=True):
        corner = x - width / 2, y - height / 2
        style = "round,pad=0,rounding_size=0.05"
        axes.add_patch(
            FancyBboxPatch(corner, width, height, style, facecolor=box.colour, edgecolor="#444444", zorder=3)
        )
        first, *others = box.lines
        step = POINTS * 1.35 / 72
        top = y + step * len(others) / 2
        axes.text(x, top, first, fontsize=POINTS, ha="center", va="center", zorder=4)
        for number, line in enumerate(others, 1):
            axes.text(
                x,
                top - number * step,
                line,
                fontsize=POINTS - 1,
                color="#555555",
                ha="center",
                va="center",
                zorder=4,
            )


def _connect(
    axes: Any,
    drawing: Drawing,
    middles: list[Point],
    sizes: list[Point],
    lines: list[list[Point]],
    upright: bool,
) -> None:
    """Draw arrows: smooth lines from a box's end to the next one's start, through the places between."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    def end(box: int, towards: float) -> Point:
        (x, y), (width, height) = middles[box], sizes[box]
        return (x, y + towards * height / 2) if upright else (x + towards * width / 2, y)

    axis = int(upright)
    for (one, two), between in zip(drawing.edges, lines, strict=True):
        if one >= two:
            _return(axes, middles, sizes, one, two)
            continue
        towards = 1 if middles[two][axis] > middles[one][axis] else -1
        points = [end(one, towards), *between, end(two, -towards)]
        codes, path = [Path.MOVETO], [points[0]]
        for first, second in pairwise(points):
            half = (first[axis] + second[axis]) / 2
            path += [(point[0], half) if upright else (half, point[1]) for point in (first, second)]
            path.append(second)
            codes += [Path.CURVE4] * 3
        axes.add_patch(
            FancyArrowPatch(
                path=Path(path, codes), arrowstyle="-|>", mutation_scale=8, color="#444444", zorder=2
            )
        )


def _return(axes: Any, middles: list[Point], sizes: list[Point], one: int, two: int) -> None:
    """Draw an arrow that leads back, as of a layer that is called on what comes of its own output."""
    from matplotlib.patches import FancyArrowPatch

    (x, y), (width, height) = middles[one], sizes[one]
    (u, v), (other, tall) = middles[two], sizes[two]
    ends = ((x + width / 2, y - height / 4), (u + other / 2, v + tall / 4))
    bend = f"arc3,rad={0.9 if one == two else 0.35}"
    axes.add_patch(
        FancyArrowPatch(*ends, connectionstyle=bend, arrowstyle="-|>", mutation_scale=8, color="#444444")
    )
