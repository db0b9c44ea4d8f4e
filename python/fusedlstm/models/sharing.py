"""`Group`: the ranks that share a model's batches, and a batch as they compute it."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from fusedlstm.base import checks, devices
from fusedlstm.distributed import share_cores
from fusedlstm.distributed.exchange import Exchange
from fusedlstm.distributed.tree import Tree
from fusedlstm.models.groups import computes_groups
from fusedlstm.models.measured import Measured, Shares

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fusedlstm.base.gradients import Gradients
    from fusedlstm.base.seeds import SeedGenerator
    from fusedlstm.base.variable import Variable
    from fusedlstm.distributed import Communicator
    from fusedlstm.models.rows import Rows

MODES = ("exact", "fast")
TRANSPORTS = ("float32", "bfloat16")


class Group:
    """Ranks, and how they share a model's batches.

    Parameters
    ----------
    communicator : Communicator
        The ranks.
    mode : {"exact", "fast"}
        Whether the bits are those of any number of ranks, or of this one.
    shards : int
        Parts of a batch in mode ``exact``: a power of two, at least the number of ranks.
    transport : {"float32", "bfloat16"}
        Numbers that gradients are sent in.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong.
    """

    def __init__(
        self, communicator: Communicator, mode: str = "exact", shards: int = 8, transport: str = "float32"
    ) -> None:
        self.communicator = communicator
        self.rank, self.size = communicator.rank, communicator.size
        self.mode = checks.choice(mode, "mode", MODES)
        self.transport = checks.choice(transport, "transport", TRANSPORTS)
        self.shards = checks.positive_int(shards, "shards")
        if self.shards & (self.shards - 1):
            raise ValueError(f"shards: expected a power of two, got {shards}")
        if self.mode == "exact" and self.shards < self.size:
            least = 1 << (self.size - 1).bit_length()
            raise ValueError(
                f"shards: expected at least the {self.size} ranks, got {shards}; {least} would do, and have "
                "other bits"
            )
        self.tree = Tree(self.shards if self.mode == "exact" else self.size, self.size)
        self._exchange: Exchange | None = None
        self._key: Any = None
        self._joining: tuple[Any, bool] | None = None
        self._measured = Measured(self.tree, communicator)
        self._cores = share_cores(communicator)

    def begin(self) -> None:
        """Begin a run, whose metrics may be others."""
        self._measured = Measured(self.tree, self.communicator)

    def own_rows(self, samples: int) -> range:
        """Return this rank's samples of a batch, of which each is computed by itself."""
        return range(samples * self.rank // self.size, samples * (self.rank + 1) // self.size)

    def run(
        self, model: Any, rows: Rows, samples: int, variables: Sequence[Variable] | None
    ) -> tuple[Shares, Gradients | None]:
        """Compute a batch together; return the whole's shares and, for some variables, their gradients.

        Metrics have taken in the whole, too. Random streams have made one draw, whatever layers drew: those
        of each shard hang on the batch and the shard alone.
        """
        exchange = None if variables is None else self._exchange_of(model, variables)
        streams = [] if exchange is None else model.layer_seeds
        states = [stream.state for stream in streams]
        if exchange is not None:
            exchange.begin(samples)
        self._measured.begin(model.heads)
        own = [(shard, self.tree.rows((shard, shard + 1), samples)) for shard in self.tree.owned(self.rank)]
        filled = [(shard, part) for shard, part in own if part]
        every = range(filled[0][1].start, filled[-1][1].stop) if filled else range(0)
        if len(filled) > 1 and rows.whole(every) and self._joins(model):
            self._run_together(model, rows, samples, filled, exchange, streams)
            self._measured.send()
            return self._measured.total(samples), None if exchange is None else exchange.total()
        try:
            for shard, part in own:
                for stream, state in zip(streams, states, strict=True):
                    stream.state = state
                    stream.state = stream.branch(shard)
                gradients = None if exchange is None or not part else exchange.shard(shard)
                if part:
                    batches = rows.take(part) if gradients is None else _watched(rows.take(part), gradients)
                    self._measured.take(shard, model.add_parts(batches, samples, gradients), len(part))
                if exchange is not None:
                    exchange.done(shard, gradients)
        finally:
            for stream, (seed, drawn) in zip(streams, states, strict=True):
                stream.state = seed, drawn + 1
        self._measured.send()
        total = None if exchange is None else exchange.total()
        return self._measured.total(samples), total

    def _run_together(
        self,
        model: Any,
        rows: Rows,
        samples: int,
        filled: list[tuple[int, range]],
        exchange: Exchange | None,
        streams: Sequence[SeedGenerator],
    ) -> None:
        """Compute all shards of this rank at once, with the bits of one after the other."""
        first, numbers = filled[0][1].start, [shard for shard, _ in filled]
        groups = [range(part.start - first, part.stop - first) for _, part in filled]
        ends = (0, *(group.stop for group in groups))
        gradients = None if exchange is None else exchange.together(numbers, ends)
        (batch,) = rows.take(range(first, filled[-1][1].stop))

        def take(place: int, shares: Shares) -> None:
            self._measured.take(numbers[place], shares, len(groups[place]))

        for stream in streams:
            stream.split(ends, numbers)
        try:
            model.add_together(batch, samples, groups, gradients, take)
        finally:
            for stream in streams:
                stream.join()
                seed, drawn = stream.state
                stream.state = seed, drawn + 1
        if exchange is not None:
            assert gradients is not None
            exchange.passed_by_all(gradients)

    def _joins(self, model: Any) -> bool:
        """Tell whether all layers of a model compute shards together as they do one by one."""
        if self._joining is None or self._joining[0] is not model.plan:
            joins = model.place is devices.CPU and all(map(computes_groups, model.plan.layers))
            self._joining = model.plan, joins
        return self._joining[1]

    def _exchange_of(self, model: Any, variables: Sequence[Variable]) -> Exchange:
        key = ([id(variable) for variable in variables], model.place, id(model.plan))
        if self._key != key or self._exchange is None:
            left = {id(variable): variable for variable in variables}
            steps = [
                [left.pop(id(v)) for v in step.layer.trainable_weights if id(v) in left]
                for step in model.plan.steps
            ]
            self._exchange = Exchange(
                steps,
                self.tree,
                self.communicator,
                model.place,
                plain=self.mode == "fast",
                short=self.transport == "bfloat16",
            )
            self._key = key
        return self._exchange


def _watched(batches: Iterator[Any], gradients: Any) -> Iterator[Any]:
    """Yield batches, and tell their gradients which is the last."""
    batch = next(batches)
    for following in chain(batches, [None]):
        gradients.final = following is None
        yield batch
        batch = following
