"""`Measured`: losses and metrics of shards, summed over all ranks in the order of the tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from fusedlstm.distributed import Communicator, Pending
    from fusedlstm.distributed.tree import Node, Tree
    from fusedlstm.metrics import Metric
    from fusedlstm.models.heads import Head

    Row = NDArray[np.float64]


class Shares(NamedTuple):
    """What samples add to a batch's loss.

    Attributes
    ----------
    values : list of float
        For each output its part of the loss.
    penalty : float
        That of regularizers.
    real, every : int
        Steps that masks leave, and all of them.
    """

    values: list[float]
    penalty: float
    real: int
    every: int


class Measured:
    """The sums of one batch after the other, in one small message of float64 numbers of each rank.

    Parameters
    ----------
    tree : Tree
        Who has which shards.
    communicator : Communicator
        The ranks.
    """

    def __init__(self, tree: Tree, communicator: Communicator) -> None:
        self._tree, self._comm = tree, communicator
        self._layout: list[tuple[int, ...]] | None = None  # shapes of the metrics' sums
        self._metrics: list[Metric] = []
        self._bases: list[Any] = []
        self._rows: dict[int, list[Any]] = {}
        self._losses = 0
        self._request: Pending | None = None
        self._sent = self._all = np.empty(0)

    def begin(self, heads: Sequence[Head]) -> None:
        """Begin a batch: metrics have no more than what comes now, until its end."""
        self._metrics = [metric for head in heads for metric in (*head.metrics, *head.weighted)]
        self._losses = len(heads)
        self._bases = [getattr(metric, name) for metric, name in self._sums()]
        self._rows = {}
        for metric in self._metrics:
            metric.reset_state()

    def take(self, shard: int, shares: Shares, samples: int) -> None:
        """Take in what a shard of so many samples has added, the sums of the metrics too."""
        found = [getattr(metric, name) for metric, name in self._sums()]
        for metric in self._metrics:
            metric.reset_state()
        numbers = [1.0, samples, shares.real, shares.every, shares.penalty, *shares.values]
        self._rows[shard] = [numbers, *found]

    def send(self) -> None:
        """Begin to tell the others."""
        if self._layout is None:
            own = next(([np.shape(sums) for sums in row[1:]] for row in self._rows.values()), None)
            found = self._comm.allgather(own)
            self._layout = next((one for one in found if one is not None), [])
        width = 5 + self._losses + sum(int(np.prod(shape)) for shape in self._layout)
        counts = [len(self._tree.owned(rank)) * width for rank in range(self._comm.size)]
        if self._all.size != sum(counts):
            self._all, self._sent = np.empty(sum(counts)), np.empty(counts[self._comm.rank])
        for place, shard in enumerate(self._tree.owned(self._comm.rank)):
            row = self._sent[place * width : (place + 1) * width]
            row[:] = 0.0
            if shard in self._rows:
                np.concatenate([np.ravel(part) for part in self._rows[shard]], out=row)
        self._request = self._comm.gather(self._sent, self._all, counts)

    def total(self, samples: int) -> Shares:
        """Return the sums of a batch of so many samples; metrics get theirs added.

        Raises
        ------
        ValueError
            If the ranks have taken in another number of samples.
        """
        assert self._request is not None
        assert self._layout is not None
        self._request.wait()
        rows = self._all.reshape(self._tree.shards, -1)
        values: dict[Node, Row | None] = {
            (number, number + 1): row.copy() if row[0] else None for number, row in enumerate(rows)
        }
        total = self._tree.total(values, lambda left, right: left + right)
        assert total is not None
        if total[1] != samples:
            raise ValueError(
                f"x: expected batches of the same size on all ranks, got {samples} samples on rank "
                f"{self._comm.rank}, and {total[1]:.0f} in all shards"
            )
        place = 5 + self._losses
        for (metric, name), base, shape in zip(self._sums(), self._bases, self._layout, strict=True):
            part = total[place : place + int(np.prod(shape))].reshape(shape)
            place += part.size
            setattr(metric, name, base + (part if shape else type(base)(part)))
        losses = total[5 : 5 + self._losses].tolist()
        return Shares(losses, float(total[4]), int(total[2]), int(total[3]))

    def _sums(self) -> list[tuple[Metric, str]]:
        return [(metric, name) for metric in self._metrics for name in metric.sums]


def check_sums(metrics: Iterable[Metric]) -> None:
    """Raise `ValueError` for a metric that does not say which of its attributes ranks can add up."""
    for metric in metrics:
        kinds = type(metric).__mro__
        resets = next(kind for kind in kinds if "reset_state" in vars(kind))
        names = next(kind for kind in kinds if "sums" in vars(kind))
        if kinds.index(names) > kinds.index(resets):
            raise ValueError(
                f"metrics: expected a class attribute `sums` of {resets.__name__}, with the names of what "
                "its reset_state sets and batches are added to, which ranks add up; got none"
            )
