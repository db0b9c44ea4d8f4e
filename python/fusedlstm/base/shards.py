"""Seeds of the shards of a batch, of which each draws as if it were a batch of its own."""

from __future__ import annotations

from typing import NamedTuple


class Seeds(NamedTuple):
    """A seed for each of several groups of rows.

    Attributes
    ----------
    ends : tuple of int
        The first row of each group, and the end of the last.
    seeds : tuple of int
        Their seeds.
    """

    ends: tuple[int, ...]
    seeds: tuple[int, ...]

    def slices(self) -> list[tuple[slice, int]]:
        """Return the rows of each group with its seed."""
        starts = zip(self.ends, self.ends[1:], strict=False)
        return [(slice(*pair), seed) for pair, seed in zip(starts, self.seeds, strict=True)]
