"""Places for boxes in a picture of a graph: in layers, with few crossings and short lines."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

# Space between boxes of a layer, and between layers.
GAP, STEP = 0.3, 0.42
# Numbers of times that rows are sorted, and that boxes are moved after that.
_SORTED, _MOVED = 8, 21


class Placed(NamedTuple):
    """Where boxes are, and the lines between them.

    Attributes
    ----------
    along, across : list of float
        For each box the middle on the way from inputs to outputs, and at a right angle to that.
    lines : list of list of (float, float)
        For each edge the middles, along and across, of the places that it goes through between both boxes.
    """

    along: list[float]
    across: list[float]
    lines: list[list[tuple[float, float]]]


def place(
    sizes: Sequence[tuple[float, float]], edges: Sequence[tuple[int, int]], groups: Sequence[str]
) -> Placed:
    """Place boxes of these sizes, along and across; those of a group side by side.

    Edges lead to later boxes; others, as of a layer that takes its own output, are left without places.
    """
    ahead = [(one, two) for one, two in edges if one < two]
    ranks = _ranks(len(sizes), ahead)
    # A long edge goes through a place of no width in each layer between.
    widths = [size[1] for size in sizes]
    families, levels = list(groups), list(ranks)
    short: list[tuple[int, int]] = []
    through: dict[tuple[int, int], list[int]] = {}
    for one, two in dict.fromkeys(ahead):
        chain = [one]
        for rank in range(ranks[one] + 1, ranks[two]):
            chain.append(len(levels))
            levels.append(rank)
            widths.append(0.1)
            families.append(groups[one] if groups[one] == groups[two] else "")
        through[one, two] = chain[1:]
        short += zip(chain, [*chain[1:], two], strict=True)
    rows: list[list[int]] = [[] for _ in range(max(levels, default=0) + 1)]
    for box, rank in enumerate(levels):
        rows[rank].append(box)
    across = _across(rows, levels, widths, short, families)
    along, at = [0.0] * len(levels), 0.0
    for row in rows:
        depth = max((sizes[box][0] for box in row if box < len(sizes)), default=0.0)
        for box in row:
            along[box] = at + depth / 2
        at += depth + STEP
    lines = [[(along[box], across[box]) for box in through.get(edge, [])] for edge in edges]
    return Placed(along[: len(sizes)], across[: len(sizes)], lines)


def _ranks(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Return each box's layer: after all that lead to it; inputs right before what they lead to."""
    ranks = [0] * count
    for one, two in sorted(edges, key=lambda edge: edge[1]):
        ranks[two] = max(ranks[two], ranks[one] + 1)
    led = {two for _, two in edges}
    for box in range(count):
        after = [ranks[two] for one, two in edges if one == box]
        if box not in led and after:
            ranks[box] = min(after) - 1
    return ranks


def _across(
    rows: list[list[int]],
    levels: list[int],
    widths: list[float],
    edges: Sequence[tuple[int, int]],
    families: Sequence[str],
) -> list[float]:
    """Return places at a right angle to the way, after sorting each row by where its neighbours are."""
    neighbours: list[list[int]] = [[] for _ in widths]
    for one, two in edges:
        neighbours[one].append(two)
        neighbours[two].append(one)
    across = [0.0] * len(widths)
    for row in rows:
        _spread(row, [float(number) for number in range(len(row))], widths, across)
    for sweep in range(_SORTED + _MOVED):
        down, sorts = sweep % 2 == 0, sweep < _SORTED
        for row in rows if down else reversed(rows):
            wanted = {}
            for box in row:
                side = [one for one in neighbours[box] if (levels[one] < levels[box]) == down]
                near = side if sorts else neighbours[box]
                wanted[box] = sum(across[one] for one in near) / len(near) if near else across[box]
            if sorts:
                family: dict[str, list[float]] = {}
                for box in row:
                    family.setdefault(families[box] or f"#{box}", []).append(wanted[box])
                row.sort(
                    key=lambda box: (
                        sum(own := family[families[box] or f"#{box}"]) / len(own),
                        families[box],
                        wanted[box],
                    )
                )
            _spread(row, [wanted[box] for box in row], widths, across)
    return across


def _spread(row: list[int], wanted: list[float], widths: list[float], across: list[float]) -> None:
    """Put a row's boxes as near to wanted places as their order and widths allow, by least squares."""
    offsets = [0.0]
    for one, two in pairwise(row):
        offsets.append(offsets[-1] + (widths[one] + widths[two]) / 2 + GAP)
    # Pool adjacent violators: blocks of boxes that touch each other, with the mean of what they want.
    blocks: list[tuple[float, int]] = []
    for want, offset in zip(wanted, offsets, strict=True):
        mean, count = want - offset, 1
        while blocks and blocks[-1][0] > mean:
            other, more = blocks.pop()
            mean, count = (mean * count + other * more) / (count + more), count + more
        blocks.append((mean, count))
    means = [mean for mean, count in blocks for _ in range(count)]
    for box, mean, offset in zip(row, means, offsets, strict=True):
        across[box] = mean + offset
