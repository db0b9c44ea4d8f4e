"""Where the batches of a run come from: arrays, or something that yields batches."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, count, islice
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fusedlstm.base.arrays import is_array
from fusedlstm.utils.datasets import PyDataset

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusedlstm.base.seeds import SeedGenerator
    from fusedlstm.models.samples import Samples

    ToBatches = Callable[..., Iterator[Any]]

# The batches of a step, and how many samples they are together.
Step: TypeAlias = tuple[Iterable[Any], int]


def yields_batches(x: object) -> bool:
    """Tell whether what came as inputs is no array, and no list or dict of arrays, but yields batches."""
    if type(x) is np.ndarray or isinstance(x, Sequence | Mapping) or hasattr(x, "__array__") or is_array(x):
        return False
    return isinstance(x, PyDataset | Iterable)


class Feed(ABC):
    """The steps of a run, epoch after epoch.

    A pass is once through the data. Without ``limit`` an epoch is a pass; with it, it has so many steps, and
    the next one goes on where it ended. A pass that ends first ends its epoch, with Keras's warning.

    Attributes
    ----------
    samples : Samples
        All of them, or those of the first batch.
    size : int
        How many the first batch has.
    params : dict
        What callbacks are told: ``steps`` of an epoch, ``samples`` of a pass and ``batch_size`` of a step, or
        None where they are not known.
    """

    samples: Samples
    size: int
    params: dict[str, int | None]
    _limit: int | None
    _pass: Iterator[Step] | None = None

    @abstractmethod
    def begin(self) -> Iterator[Step]:
        """Return the steps of a new pass."""

    def ready(self) -> bool:
        """Tell whether there will be a step in the next epoch; warn if not."""
        return True

    def restart(self) -> None:
        """Let the next epoch begin with a new pass."""
        self._pass = None

    def epoch(self) -> Iterator[Step]:
        """Return the steps of an epoch."""
        return self.begin() if self._limit is None else self._limited(self._limit)

    def _limited(self, limit: int) -> Iterator[Step]:
        first = None if self._pass is None else next(self._pass, None)
        if self._pass is None or first is None:
            self._pass = self.begin()
            first = next(self._pass)
        done = 0
        for step in islice(chain([first], self._pass), limit):
            yield step
            done += 1
        if done < limit:
            _warn()
            self._pass = None


class ArrayFeed(Feed):
    """Steps of samples in arrays.

    Parameters
    ----------
    samples : Samples
        The arrays.
    size : int
        Samples of a batch.
    batches : callable
        From samples, a batch's size and their order or None to an iterator over batches for the model.
    limit : int, optional
        Steps of an epoch.
    grouped : int
        Batches of a step.
    seeds : SeedGenerator, optional
        Of each pass's order; without it samples come as they lie.
    """

    def __init__(
        self,
        samples: Samples,
        size: int,
        batches: ToBatches,
        limit: int | None = None,
        grouped: int = 1,
        seeds: SeedGenerator | None = None,
    ) -> None:
        self.samples, self.size, self._limit = samples, size, limit
        self._batches, self._grouped, self._seeds = batches, grouped, seeds
        count, step = len(samples), size * grouped
        if limit is None:
            self.params = {"steps": -(-count // step), "samples": count, "batch_size": step}
        else:
            self.params = {"steps": limit, "samples": None, "batch_size": step}

    def begin(self) -> Iterator[Step]:
        """Return the steps of a new pass; batches are made when they are asked for."""
        order = None
        if self._seeds is not None:
            order = np.random.default_rng(self._seeds.next()).permutation(len(self.samples))
        batches = self._batches(self.samples, self.size, order)
        count, step = len(self.samples), self.size * self._grouped
        for start in range(0, count, step):
            yield islice(batches, self._grouped), min(step, count - start)
        # They come to their end here: an interrupt while they are deleted would be lost.
        next(batches, None)


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
    batches, limit
        As for `ArrayFeed`.
    grouped : int
        Batches of a step.
    seeds : SeedGenerator, optional
        Of the order of a `PyDataset` in each pass; without it batches come by their numbers.

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
        self._data, self._name, self._check, self._limit = data, name, check, limit
        self._batches, self._grouped, self._seeds = batches, grouped, seeds
        self._dataset = data if isinstance(data, PyDataset) else None
        self._held: Iterator[Any] | None = None
        length = _length(data)
        steps = None if length is None else -(-length // grouped)
        self.params = {"steps": steps if limit is None else limit, "samples": None, "batch_size": None}
        first = self._hold() if self._dataset is None else [data[0]] if length != 0 else []
        if not first:
            raise ValueError(f"{name}: expected at least one batch, got none from {type(data).__name__}")
        self.samples = self._checked(first[0], 0)
        self.size = len(self.samples)

    def ready(self) -> bool:
        """Tell whether there will be a step in the next epoch; warn if not."""
        if self._held is None and isinstance(self._data, Iterator) and not self._hold():
            _warn()
            return False
        return True

    def restart(self) -> None:
        """Let the next epoch begin with a new pass, and a dataset do what it does between epochs."""
        super().restart()
        if self._dataset is not None:
            self._dataset.on_epoch_end()

    def epoch(self) -> Iterator[Step]:
        """Yield the steps of an epoch."""
        if self._dataset is not None:
            self._dataset.on_epoch_begin()
        yield from super().epoch()
        if self._dataset is not None:
            self._dataset.on_epoch_end()

    def begin(self) -> Iterator[Step]:
        """Return the steps of a new pass, or of what is left of an iterator."""
        numbered = (self._checked(batch, number) for number, batch in enumerate(self._raw()))
        parts = list(islice(numbered, self._grouped))
        if not parts:
            raise ValueError(f"{self._name}: expected at least one batch in each pass, got none")
        while parts:
            yield chain.from_iterable(self._batches(part, len(part)) for part in parts), sum(map(len, parts))
            parts = list(islice(numbered, self._grouped))

    def _hold(self) -> list[Any]:
        """Look at the first batch of a pass, which the pass to come yields again; it may be none."""
        batches = iter(self._data)
        first = list(islice(batches, 1))
        self._held, self._pass = chain(first, batches), None
        return first

    def _raw(self) -> Iterator[Any]:
        if self._dataset is None:
            held, self._held = self._held, None
            return iter(self._data) if held is None else held
        length = self._dataset.num_batches
        numbers: Iterable[int] = count() if length is None else range(length)
        if length is not None and self._seeds is not None:
            numbers = np.random.default_rng(self._seeds.next()).permutation(length).tolist()
        if self._dataset.workers > 1:
            return _made_ahead(self._dataset, numbers)
        return map(self._dataset.__getitem__, numbers)

    def _checked(self, batch: Any, number: int) -> Samples:
        try:
            return self._check(batch)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{self._name}: batch {number}: {error}") from error


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


def _warn() -> None:
    warnings.warn(
        "Your input ran out of data; interrupting training. Make sure that your dataset or generator can "
        "generate at least `steps_per_epoch * epochs` batches.",
        stacklevel=3,
    )
