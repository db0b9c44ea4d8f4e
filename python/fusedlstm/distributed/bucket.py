"""`Bucket`: gradients that travel together, from the shards of a rank to their sum on all ranks."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.distributed.bfloat16 import rounded, widened
from fusedlstm.distributed.communicator import cuts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusedlstm.base.devices import Device
    from fusedlstm.base.types import Array
    from fusedlstm.base.variable import Variable
    from fusedlstm.distributed.communicator import Communicator, Pending
    from fusedlstm.distributed.tree import Node, Tree


class Bucket:
    """The gradients of some weights, N numbers one after the other.

    Each rank adds up what the tree lets it, the sums of its roots. Of R ranks each one gets the same N / R
    numbers of all roots, adds these up in the tree's order, and all collect the results. A rank sends
    (R - 1) / R * N numbers of each of its roots, and as many of the sum. Buffers are kept for the next step.

    Parameters
    ----------
    variables : sequence of Variable
        The weights, of one dtype.
    tree : Tree
        Who has which shards.
    communicator : Communicator
        The ranks.
    place : Device
        Where the weights lie.
    plain : bool
        Whether the library sums instead, in its own order; each rank has one shard then.
    short : bool
        Whether messages have bfloat16 numbers. Sums are float32 also then.
    """

    def __init__(
        self,
        variables: Sequence[Variable],
        tree: Tree,
        communicator: Communicator,
        place: Device,
        *,
        plain: bool,
        short: bool,
    ) -> None:
        self.variables = tuple(variables)
        self._tree, self._comm, self._place = tree, communicator, place
        self._plain, self._short = plain and not short, short
        self._dtype = variables[0].dtype
        self._wire = np.dtype(np.uint16) if short else self._dtype
        self._ends = np.cumsum([0, *(v.size for v in variables)])
        self._cuts = cuts(int(self._ends[-1]), communicator.size)
        self._own = int(np.diff(self._cuts)[communicator.rank])
        self._roots = [tree.roots(rank) for rank in range(communicator.size)]
        # One array of a sum, or a list with the gradients of a shard, which are not this object's.
        self._pending: dict[Node, Any] = {}
        self._sums: dict[Node, Array | None] = {}
        self._free: list[Array] = []
        self._kept: dict[str, Array] = {}
        self._requests: list[Pending] = []
        self._received: dict[Node, Array] = {}
        self._total: Array | None = None

    @property
    def buffer_bytes(self) -> int:
        """The size of all buffers that are kept from step to step."""
        kept = [*self._free, *self._kept.values(), *([] if self._total is None else [self._total])]
        return sum(one.nbytes for one in kept)

    def begin(self) -> None:
        """Forget the step before."""
        if self._total is not None:
            self._free.append(self._total)
        self._total = None

    def put(self, node: Node, gradients: Sequence[Array] | None) -> None:
        """Take the gradients of a shard in, which nobody changes; None for a shard without samples."""
        value: Any = gradients
        roots = self._roots[self._comm.rank]
        while node not in roots:
            start, end = node
            length = end - start
            if start // length % 2 == 0:  # The other half of the sum is yet to come.
                if value is not None:
                    self._pending[node] = value
                return
            left = self._pending.pop((start - length, start), None)
            value = value if left is None else left if value is None else self._added(left, value)
            node = (start - length, end)
        self._sums[node] = None if value is None else self._flat(value)

    def put_all(self, gradients: Sequence[Array]) -> bool:
        """Take the gradients of all shards of this rank in, arrays (k, ...) that are changed by it.

        It is for ranks whose shards make one part of the tree; others get False, and nothing is done.
        """
        roots = self._roots[self._comm.rank]
        count = len(gradients[0])
        if len(roots) > 1 or roots[0][1] - roots[0][0] != count or not gradients[0].flags.c_contiguous:
            return False
        flat = self._take()
        for gradient, (start, end) in zip(gradients, pairwise(self._ends.tolist()), strict=True):
            _add_up(gradient.reshape(count, -1), flat[start:end])
        self._sums[roots[0]] = flat
        return True

    def start(self, samples: int) -> None:
        """Begin to send, when all shards of this rank are in; of a batch of so many samples."""
        comm = self._comm
        if comm.size == 1 or self._plain:
            (total,) = self._sums.values()
            self._total = self._zeros() if total is None else total
            if comm.size > 1:
                self._requests.append(comm.sum(self._total))
            self._sums = {}
            return
        sizes = np.diff(self._cuts)
        for turn in range(max(map(len, self._roots))):
            nodes = [roots[turn] if turn < len(roots) else None for roots in self._roots]
            sent = [node is not None and len(self._tree.rows(node, samples)) > 0 for node in nodes]
            counts = [self._own if one else 0 for one in sent]
            send: Any = self._buffer(f"nothing {turn}", 0, self._wire)
            mine = nodes[comm.rank]
            if sent[comm.rank]:
                assert mine is not None
                send = self._shortened(f"send {turn}", self._sums[mine])
            receive = self._buffer(f"receive {turn}", self._own * comm.size, self._wire)[: sum(counts)]
            own = [int(size) if sent[comm.rank] else 0 for size in sizes]
            self._requests.append(comm.exchange(send, own, receive, counts))
            starts = np.cumsum([0, *counts])
            for rank, node in enumerate(nodes):
                if node is not None and sent[rank]:
                    self._received[node] = receive[starts[rank] : starts[rank + 1]]

    def test(self) -> None:
        """Let messages go on."""
        for request in self._requests:
            request.test()

    def add_up(self) -> None:
        """Wait for the roots of all ranks, sum this rank's part of the numbers, and begin to collect it."""
        self._wait()
        if self._total is not None:
            return
        self._free += [one for one in self._sums.values() if one is not None]
        self._sums = {}
        values: dict[Node, Array | None] = {
            node: None for roots in self._roots for node in roots if node not in self._received
        }
        for node, part in self._received.items():
            values[node] = self._lengthened(f"{node}", part)
        self._received = {}
        own: Any = self._tree.total(values, _add)
        if own is None:
            own = self._place.zeros((self._own,), self._dtype)
        self._total = self._take()
        whole = self._buffer("whole", int(self._cuts[-1]), self._wire) if self._short else self._total
        sizes = np.diff(self._cuts).tolist()
        self._requests.append(self._comm.gather(self._shortened("part", own), whole, sizes))

    def finish(self) -> list[Array]:
        """Wait for the sum, and return it for each of the weights: views that last until the next `begin`."""
        self._wait()
        assert self._total is not None
        if self._short and self._comm.size > 1:
            whole: Any = self._kept["whole"]
            widened(whole, self._total)
        return self._views(self._total)

    def _wait(self) -> None:
        for request in self._requests:
            request.wait()
        self._requests = []

    def _views(self, flat: Array) -> list[Array]:
        parts = pairwise(self._ends.tolist())
        return [
            flat[start:end].reshape(*v.shape) for v, (start, end) in zip(self.variables, parts, strict=True)
        ]

    def _flat(self, value: Any) -> Array:
        """Return one array of gradients, copied to a buffer unless they lie in one."""
        if not isinstance(value, list | tuple):
            flat: Array = value
            return flat
        flat = self._take()
        for view, gradient in zip(self._views(flat), value, strict=True):
            view[...] = gradient
        return flat

    def _added(self, left: Any, right: Any) -> Array:
        """Return the sum of two, in the place of one that is this object's, or in a buffer."""
        one, other = (isinstance(value, list | tuple) for value in (left, right))
        if not (one or other):
            self._free.append(right)
            return _add(left, right)
        sums: Array = self._take() if one and other else right if one else left
        lefts, rights = left if one else self._views(left), right if other else self._views(right)
        for view, first, second in zip(self._views(sums), lefts, rights, strict=True):
            np.add(first, second, out=view)
        return sums

    def _take(self) -> Array:
        if self._free:
            return self._free.pop()
        made: Array = self._place.empty((int(self._ends[-1]),), self._dtype)
        return made

    def _zeros(self) -> Array:
        flat = self._take()
        flat[...] = self._dtype.type(0)
        return flat

    def _buffer(self, name: str, size: int, dtype: Any) -> Array:
        if name not in self._kept:
            self._kept[name] = self._place.empty((size,), dtype)
        return self._kept[name]

    def _shortened(self, name: str, values: Any) -> Array:
        if not self._short:
            same: Array = values
            return same
        out: Any = self._buffer(name, math.prod(values.shape), self._wire)
        rounded(values, out)
        return out  # type: ignore[no-any-return]

    def _lengthened(self, name: str, values: Any) -> Array:
        if not self._short:
            same: Array = values
            return same
        out: Any = self._buffer(name, math.prod(values.shape), self._dtype)
        widened(values, out)
        return out  # type: ignore[no-any-return]


def _add_up(parts: Array, out: Array) -> None:
    """Sum rows, a power of two, in the order of the tree, some columns at a time that stay in cache."""
    count, size = parts.shape
    if count == 1:
        out[...] = parts[0]
        return
    for start in range(0, size, _COLUMNS):
        left = parts[:, start : start + _COLUMNS]
        while len(left) > 2:
            np.add(left[0::2], left[1::2], out=left[0::2])
            left = left[0::2]
        np.add(left[0], left[1], out=out[start : start + _COLUMNS])


# Numbers of each shard that are summed at a time.
_COLUMNS = 1 << 13


def _add(left: Array, right: Array) -> Array:
    np.add(left, right, out=left)
    return left
