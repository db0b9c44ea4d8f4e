"""`Exchange`: sums of gradients over shards and ranks, sent while the backward pass goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.base.gradients import Gradients
from fusedlstm.distributed.bucket import Bucket

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusedlstm.base.devices import Device
    from fusedlstm.base.types import Array
    from fusedlstm.base.variable import Variable
    from fusedlstm.distributed.communicator import Communicator
    from fusedlstm.distributed.tree import Node, Tree

# Messages of fewer bytes wait for more: below, the time of a message is what it takes to begin it.
_LEAST_BYTES = 1 << 18


class ShardGradients(Gradients):
    """The gradients of a shard.

    Attributes
    ----------
    final : bool
        Whether what a layer adds now is all that it will.
    """

    __slots__ = ("_exchange", "final", "node")

    def __init__(self, exchange: Exchange, node: Node) -> None:
        super().__init__()
        self._exchange, self.node, self.final = exchange, node, False

    def passed(self, step: int) -> None:
        """Send what is complete now; see `Gradients.passed`."""
        if self.final:
            self._exchange.passed(self, step)


class GroupGradients(Gradients):
    """The gradients of several shards, whose rows make one backward pass: arrays with a first axis of shards.

    Attributes
    ----------
    numbers : list of int
        Those of the shards.
    """

    __slots__ = ("_exchange", "numbers")

    def __init__(self, exchange: Exchange, numbers: Sequence[int], ends: tuple[int, ...]) -> None:
        super().__init__()
        self._exchange, self.ends, self.numbers = exchange, ends, list(numbers)

    def add(self, variable: Variable, gradient: Array) -> None:
        """Refuse a sum over all rows."""
        expected = f"gradients of {len(self.numbers)} groups"
        raise TypeError(f"{variable.path}: expected {expected}, got {gradient.shape}")

    def add_groups(self, variable: Variable, gradient: Array) -> None:
        """Add the gradients of all shards; see `Gradients.add_groups`."""
        super().add(variable, gradient)

    def of(self, number: int) -> Gradients | None:
        """Return those of one shard; None for one without samples."""
        if number not in self.numbers:
            return None
        place, found = self.numbers.index(number), Gradients()
        found.update({variable: gradient[place] for variable, gradient in self.items()})
        return found

    def passed(self, step: int) -> None:
        """Send what is complete now; see `Gradients.passed`."""
        self._exchange.passed_by_all(self, step)


class Exchange:
    """All gradients of a model, in buckets in the order in which a backward pass comes to their end.

    Parameters
    ----------
    steps : sequence of sequence of Variable
        For each step of a forward pass the weights that no step before it has, and that are trained.
    tree : Tree
        Who has which shards.
    communicator : Communicator
        The ranks.
    place : Device
        Where the weights lie.
    plain, short : bool
        As of `Bucket`.
    """

    def __init__(
        self,
        steps: Sequence[Sequence[Variable]],
        tree: Tree,
        communicator: Communicator,
        place: Device,
        *,
        plain: bool = False,
        short: bool = False,
    ) -> None:
        self._tree, self._comm = tree, communicator
        self._buckets: list[Bucket] = []
        self._last: list[int] = []  # the step after which a bucket is complete
        some: list[Variable] = []
        for number in reversed(range(len(steps))):
            some += steps[number]
            if some and (number == 0 or sum(v.size * v.dtype.itemsize for v in some) >= _LEAST_BYTES):
                self._buckets.append(Bucket(some, tree, communicator, place, plain=plain, short=short))
                self._last.append(number)
                some = []
        self._samples = 0
        self._put = self._started = 0  # buckets that have the last shard, and that are under way

    @property
    def buffer_bytes(self) -> int:
        """The size of all buffers that are kept from step to step."""
        return sum(bucket.buffer_bytes for bucket in self._buckets)

    @property
    def messages(self) -> int:
        """How many messages the gradients of a step are, to each rank and in each direction."""
        return len(self._buckets)

    @property
    def variables(self) -> list[Variable]:
        """The weights, in the order of the buckets."""
        return [variable for bucket in self._buckets for variable in bucket.variables]

    def begin(self, samples: int) -> None:
        """Begin a step with so many samples on all ranks together."""
        self._samples, self._put, self._started = samples, 0, 0
        for bucket in self._buckets:
            bucket.begin()

    def shard(self, number: int) -> ShardGradients:
        """Return what the backward passes of a shard add to."""
        return ShardGradients(self, (number, number + 1))

    def passed(self, gradients: ShardGradients, step: int) -> None:
        """Take in and send the buckets that a backward pass has completed, if its shard is the last."""
        if gradients.node[0] != self._tree.owned(self._comm.rank)[-1]:
            return
        while self._put < len(self._buckets) and self._last[self._put] >= step:
            if not all(variable in gradients for variable in self._buckets[self._put].variables):
                break
            self._take(self._put, gradients)
        for bucket in self._buckets[: self._started]:
            bucket.test()

    def together(self, numbers: Sequence[int], ends: tuple[int, ...]) -> GroupGradients:
        """Return what one backward pass adds to for these shards, the only ones of this rank with samples."""
        return GroupGradients(self, numbers, ends)

    def passed_by_all(self, gradients: GroupGradients, step: int | None = None) -> None:
        """Take in and send the buckets that the backward pass of all shards has completed, all at its end."""
        while self._put < len(self._buckets) and (step is None or self._last[self._put] >= step):
            bucket = self._buckets[self._put]
            if step is not None and not all(variable in gradients for variable in bucket.variables):
                break
            own = self._tree.owned(self._comm.rank)
            known = len(gradients.numbers) == len(own) and all(v in gradients for v in bucket.variables)
            if not known or not bucket.put_all([gradients[variable] for variable in bucket.variables]):
                for number in own:
                    bucket.put((number, number + 1), _of(bucket, gradients.of(number)))
            bucket.start(self._samples)
            self._put = self._started = self._put + 1
        for bucket in self._buckets[: self._started]:
            bucket.test()

    def done(self, number: int, gradients: ShardGradients | None) -> None:
        """Take in what a shard has left; None for one without samples."""
        if number != self._tree.owned(self._comm.rank)[-1]:
            for bucket in self._buckets:
                bucket.put((number, number + 1), _of(bucket, gradients))
            return
        while self._put < len(self._buckets):
            self._take(self._put, gradients, (number, number + 1))

    def _take(self, which: int, gradients: Any, node: Node | None = None) -> None:
        bucket = self._buckets[which]
        bucket.put(gradients.node if node is None else node, _of(bucket, gradients))
        bucket.start(self._samples)
        self._put = self._started = which + 1

    def total(self) -> Gradients:
        """Return the sums over all shards, the same on all ranks; they last until the next `begin`."""
        for bucket in self._buckets:
            bucket.add_up()
        found = Gradients()
        for bucket in self._buckets:
            found.update(zip(bucket.variables, bucket.finish(), strict=True))
        return found


def _of(bucket: Bucket, gradients: Gradients | None) -> list[Array] | None:
    if gradients is None:
        return None
    return [
        gradients[variable] if variable in gradients else np.zeros_like(variable.value)
        for variable in bucket.variables
    ]
