"""`Tree`: the shards of a batch, which rank computes which, and the one order in which all are summed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Value = TypeVar("Value")

# A part of the tree by its shards: the first one, and the one after the last.
Node: TypeAlias = "tuple[int, int]"


@dataclass(frozen=True)
class Tree:
    """A batch in shards, whose sums are those of a complete binary tree whoever computes them.

    Each rank has shards one after the other. What it can add up alone are its `roots`, the largest parts of
    the tree that lie in its shards; from all ranks' roots everybody gets to the same sum, since each addition
    of the tree is made somewhere, with the same two numbers.

    Parameters
    ----------
    shards : int
        A power of two.
    ranks : int
        At most as many.
    """

    shards: int
    ranks: int

    def owned(self, rank: int) -> range:
        """Return the shards of a rank."""
        return range(self.shards * rank // self.ranks, self.shards * (rank + 1) // self.ranks)

    def rows(self, node: Node, samples: int) -> range:
        """Return the samples of a part of the tree, for a batch of so many; there may be none."""
        return range(samples * node[0] // self.shards, samples * node[1] // self.shards)

    def roots(self, rank: int) -> list[Node]:
        """Return the largest parts of the tree in a rank's shards, in their order."""
        found = []
        own = self.owned(rank)
        start = own.start
        while start < own.stop:
            length = start & -start if start else self.shards
            while start + length > own.stop:
                length //= 2
            found.append((start, start + length))
            start += length
        return found

    def total(
        self,
        values: Mapping[Node, Value | None],
        add: Callable[[Value, Value], Value],
        node: Node | None = None,
    ) -> Value | None:
        """Return the sum of a part of the tree, all of it by default.

        Parameters
        ----------
        values : dict
            Sums of parts that make it up; None, or no entry for a single shard, where there is no sample.
        add : callable
            From two values to their sum.
        node : tuple of int, optional
            The part.
        """
        first, end = node or (0, self.shards)
        if (first, end) in values:
            return values[first, end]
        if end - first == 1:
            return None
        middle = (first + end) // 2
        left = self.total(values, add, (first, middle))
        right = self.total(values, add, (middle, end))
        if left is None or right is None:
            return right if left is None else left
        return add(left, right)
