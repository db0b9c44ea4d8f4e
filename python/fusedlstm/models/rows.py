"""`Rows`: the samples of a step, of which a rank takes its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fusedlstm.models.samples import Samples

    ToBatches = Callable[..., Iterator[Any]]


class Piece(NamedTuple):
    """A batch of a step: some samples of arrays, in an order where there is one."""

    samples: Samples
    start: int
    stop: int
    order: Any = None


class Rows:
    """The batches of a step, as pieces that nobody has read yet.

    Parameters
    ----------
    pieces : sequence of Piece
        The batches.
    to_batches : callable
        From samples and a size to batches for the model.
    """

    def __init__(self, pieces: Sequence[Piece], to_batches: ToBatches) -> None:
        self._pieces, self._to_batches = pieces, to_batches

    def whole(self, rows: range) -> bool:
        """Tell whether these lie in one batch."""
        before = 0
        for _, start, stop, _ in self._pieces:
            if before <= rows.start and rows.stop <= before + stop - start:
                return True
            before += stop - start
        return False

    def take(self, rows: range) -> Iterator[Any]:
        """Yield batches with these of the step's samples; others are not read."""
        before = 0
        for samples, start, stop, order in self._pieces:
            first, last = max(rows.start, before), min(rows.stop, before + stop - start)
            if first < last:
                which = slice(start + first - before, start + last - before)
                part = samples.part(which if order is None else order[which])
                yield from self._to_batches(part, len(part))
            before += stop - start
