"""`BatchFeed`: the steps of a run from something that yields batches."""

from __future__ import annotations

from itertools import chain, count, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.models.draws import Draws
from fusedlstm.models.feeding import Feed, warn_of_end
from fusedlstm.models.rows import Piece, Rows
from fusedlstm.models.told import Told
from fusedlstm.utils.datasets import PyDataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from fusedlstm.base.seeds import SeedGenerator
    from fusedlstm.models.feeding import Step
    from fusedlstm.models.rows import ToBatches
    from fusedlstm.models.samples import Samples


class BatchFeed(Feed):
    """Steps of batches that something yields; each is checked when it comes, the first one at once.

    Parameters
    ----------
    data : PyDataset or iterable
        Yields batches.
    name : str
        The argument's name, for messages.
    check : callable
        From what came to checked samples.
    batches, limit, grouped, seeds
        As for `Feed`. A `PyDataset` alone has another order in each pass.

    Raises
    ------
    TypeError, ValueError
        If there is no batch, or the first one is wrong.
    """

    def __init__(
        self,
        data: Any,
        name: str,
        check: Callable[[Any], Samples],
        batches: ToBatches,
        limit: int | None = None,
        grouped: int = 1,
        seeds: SeedGenerator | None = None,
    ) -> None:
        self._dataset = data if isinstance(data, PyDataset) else None
        ordered = self._dataset is not None and self._dataset.num_batches is not None
        super().__init__(batches, limit, grouped, seeds if ordered else None)
        self._name, self._check = name, check
        self._draws = Draws(data, name)
        self._told = None if self._dataset is None else Told(self._dataset, name)
        length = _length(data)
        steps = None if length is None else -(-length // grouped)
        self.params = {"steps": steps if limit is None else limit, "samples": None, "batch_size": None}
        first = self._draws.hold() if self._dataset is None else [data[0]] if length != 0 else []
        if not first:
            raise ValueError(f"{name}: expected at least one batch, got none from {type(data).__name__}")
        self.samples = self._checked(first[0], 0)
        self.size = len(self.samples)

    def ready(self) -> bool:
        """Tell whether there will be a step in the next epoch; warn if not."""
        if self._draws.is_iterator and self._draws.held is None:
            self._pass = None
            if not self._draws.hold():
                warn_of_end()
                return False
        return True

    def restart(self) -> None:
        """Let the next epoch begin with a new pass, and a dataset do what it does between epochs."""
        super().restart()
        self._tell("e")

    def epoch(self, done: int = 0) -> Iterator[Step]:
        """Yield the steps of an epoch; see `Feed.epoch`."""
        if not done:
            self._tell("b")
        yield from super().epoch(done)
        self._tell("e")

    def _tell(self, call: str) -> None:
        if self._told is not None:
            self._told.tell(call)

    def _steps(self, done: int, raw: Iterator[Any] | None = None) -> Iterator[Step]:
        """Return the steps of a pass, or of what is left of an iterator."""
        skipped = done * self._grouped
        raw = self._raw(skipped) if raw is None else raw
        numbered = (self._checked(batch, number) for number, batch in enumerate(raw, skipped))
        parts = list(islice(numbered, self._grouped))
        if not parts and not done:
            raise ValueError(f"{self._name}: expected at least one batch in each pass, got none")
        while parts:
            self._done += 1
            batches: Any
            if self.shared:
                batches = Rows([Piece(part, 0, len(part)) for part in parts], self._batches)
            else:
                batches = chain.from_iterable(self._batches(part, len(part)) for part in parts)
            yield batches, sum(map(len, parts))
            parts = list(islice(numbered, self._grouped))

    def _raw(self, skipped: int) -> Iterator[Any]:
        if self._dataset is None:
            return self._draws.begin()
        length = self._dataset.num_batches
        numbers: Iterable[int] = count(skipped) if length is None else range(skipped, length)
        if length is not None and self._seed is not None:
            numbers = np.random.default_rng(self._seed).permutation(length)[skipped:].tolist()
        if self._dataset.workers > 1:
            return _made_ahead(self._dataset, numbers)
        return map(self._dataset.__getitem__, numbers)

    def _checked(self, batch: Any, number: int) -> Samples:
        try:
            return self._check(batch)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{self._name}: batch {number}: {error}") from error

    def get_state(self, inside: bool) -> dict[str, Any]:
        """Return where a run is in its data; see `Feed.get_state`."""
        state = super().get_state(inside)
        return {**state, "source": (self._told or self._draws).get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on where `get_state` was called; see `Feed.set_state`.

        A `PyDataset` that returns no state of its own is told again of all epochs, and asked for the batches
        to come alone. Anything else is asked for all batches again.
        """
        if self._told is not None:
            self._told.set_state(state["source"])
            super().set_state(state)
            return
        rest = self._draws.set_state(state["source"])
        super().set_state({**state, "open": False})
        if state["open"]:
            self._pass = self._steps(self._done, rest)


def parts_of(batch: Any) -> tuple[Any, Any, Any]:
    """Return ``(x, y, sample_weight)`` of a batch as it came; what it lacks is None.

    Raises
    ------
    ValueError
        If it is a tuple or list of no or of more than three items.
    """
    if not isinstance(batch, tuple | list):
        return batch, None, None
    if not 1 <= len(batch) <= 3:
        raise ValueError(f"expected (x,), (x, y) or (x, y, sample_weight), got {len(batch)} items")
    x, y, weights = (*batch, None, None)[:3]
    return x, y, weights


def _length(data: Any) -> int | None:
    """Return how many batches a pass over data has, if that is known."""
    if isinstance(data, PyDataset):
        return data.num_batches
    try:
        return len(data)
    except TypeError:  # PyTorch's loaders raise it too, where their data has no length
        return None


def _made_ahead(dataset: PyDataset, numbers: Iterable[int]) -> Iterator[Any]:
    """Yield batches that threads have begun to make before they are asked for."""
    from concurrent.futures import Future, ThreadPoolExecutor

    pool = ThreadPoolExecutor(dataset.workers)
    waiting: list[Future[Any]] = []
    try:
        for number in numbers:
            waiting.append(pool.submit(dataset.__getitem__, number))
            if len(waiting) >= dataset.max_queue_size:
                yield waiting.pop(0).result()
        while waiting:
            yield waiting.pop(0).result()
    finally:
        pool.shutdown(cancel_futures=True)
