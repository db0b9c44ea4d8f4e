"""Where the steps of a run come from: `Feed`, and that of arrays."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fusedlstm.base.arrays import is_array
from fusedlstm.models.rows import Piece, Rows
from fusedlstm.utils.datasets import PyDataset

if TYPE_CHECKING:
    from fusedlstm.base.seeds import SeedGenerator
    from fusedlstm.models.rows import ToBatches
    from fusedlstm.models.samples import Samples

# The batches of a step, or their rows where ranks share them, and how many samples they are together.
Step: TypeAlias = tuple[Any, int]


def yields_batches(x: object) -> bool:
    """Tell whether what came as inputs is no array, and no list or dict of arrays, but yields batches."""
    if type(x) is np.ndarray or isinstance(x, Sequence | Mapping) or hasattr(x, "__array__") or is_array(x):
        return False
    return isinstance(x, PyDataset | Iterable)


class Feed(ABC):
    """The steps of a run, epoch after epoch.

    A pass is once through the data. Without ``limit`` an epoch is a pass; with it, it has so many steps, and
    the next one goes on where it ended. A pass that ends first ends its epoch, with Keras's warning.

    Parameters
    ----------
    batches : callable
        From samples, a batch's size, their order or None, and how many samples to leave out, to an iterator
        over batches for the model.
    limit : int, optional
        Steps of an epoch.
    grouped : int
        Batches of a step.
    seeds : SeedGenerator, optional
        Of each pass's order; without it there is none but that of the data.

    Attributes
    ----------
    samples : Samples
        All of them, or those of the first batch.
    size : int
        How many the first batch has.
    params : dict
        What callbacks are told: ``steps`` of an epoch, ``samples`` of a pass and ``batch_size`` of a step, or
        None where they are not known.
    shared : bool
        Whether steps are `Rows`, for ranks to share.
    """

    samples: Samples
    size: int
    params: dict[str, int | None]

    def __init__(
        self, batches: ToBatches, limit: int | None, grouped: int, seeds: SeedGenerator | None
    ) -> None:
        self._batches, self._limit, self._grouped, self._seeds = batches, limit, grouped, seeds
        # The pass that is not at its end yet, the seed of its order, and how many steps it has given.
        self._pass: Iterator[Step] | None = None
        self._seed: int | None = None
        self._done = 0
        self.shared = False

    @abstractmethod
    def _steps(self, done: int) -> Iterator[Step]:
        """Return the steps of a pass after the first so many, in the order of ``self._seed``."""

    def ready(self) -> bool:
        """Tell whether there will be a step in the next epoch; warn if not."""
        return True

    def restart(self) -> None:
        """Let the next epoch begin with a new pass."""
        self._pass = None

    def begin(self) -> Iterator[Step]:
        """Return the steps of a new pass."""
        self._done = 0
        self._seed = None if self._seeds is None else self._seeds.next()
        return self._steps(0)

    def epoch(self, done: int = 0) -> Iterator[Step]:
        """Return the steps of an epoch; after ``done`` of them, the rest of one that `set_state` knows of."""
        if self._limit is not None:
            return self._limited(self._limit, done)
        steps, self._pass = self._pass if done else None, None
        return self.begin() if steps is None else steps

    def _limited(self, limit: int, done: int) -> Iterator[Step]:
        if done and self._pass is not None:
            steps = self._pass
        else:
            first = None if self._pass is None else next(self._pass, None)
            if self._pass is None or first is None:
                self._pass = self.begin()
                first = next(self._pass)
            steps = chain([first], self._pass)
        for step in islice(steps, limit - done):
            yield step
            done += 1
        if done < limit:
            warn_of_end()
            self._pass = None

    def signature(self) -> dict[str, Any]:
        """Return what has to be the same for a training to go on, by the names of `fit`'s arguments."""
        return {
            "kind": type(self).__name__,
            "samples": self.params["samples"],
            "batch_size": self.size,
            "steps_per_epoch": self.params["steps"],
            "gradient_accumulation_steps": self._grouped,
            "shuffle": self._seeds is not None,
            "weights": [one is not None for one in self.samples.weights],
            "types": [one.dtype.name for one in self.samples.x],
        }

    def get_state(self, inside: bool) -> dict[str, Any]:
        """Return where a run is in its data.

        Parameters
        ----------
        inside : bool
            Whether an epoch is under way.
        """
        is_open = inside if self._limit is None else self._pass is not None
        return {"open": is_open, "done": self._done, "seed": self._seed}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on where `get_state` was called, on a feed of the same data that no epoch was asked of.

        Raises
        ------
        ValueError
            If the data cannot be wound forward to there.
        """
        self._done, self._seed = state["done"], state["seed"]
        if state["open"]:
            self._pass = self._steps(self._done)


class ArrayFeed(Feed):
    """Steps of samples in arrays.

    Parameters
    ----------
    samples : Samples
        The arrays.
    size : int
        Samples of a batch.
    batches, limit, grouped, seeds
        As for `Feed`.
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
        super().__init__(batches, limit, grouped, seeds)
        self.samples, self.size = samples, size
        count, step = len(samples), size * grouped
        if limit is None:
            self.params = {"steps": -(-count // step), "samples": count, "batch_size": step}
        else:
            self.params = {"steps": limit, "samples": None, "batch_size": step}

    def _steps(self, done: int) -> Iterator[Step]:
        """Return the steps of a pass; batches are made when they are asked for."""
        order = None
        if self._seed is not None:
            order = np.random.default_rng(self._seed).permutation(len(self.samples))
        count, step = len(self.samples), self.size * self._grouped
        if self.shared:
            for start in range(done * step, count, step):
                self._done += 1
                stop = min(start + step, count)
                starts = range(start, stop, self.size)
                pieces = [Piece(self.samples, one, min(one + self.size, stop), order) for one in starts]
                yield Rows(pieces, self._batches), stop - start
            return
        batches = self._batches(self.samples, self.size, order, done * step)
        for start in range(done * step, count, step):
            self._done += 1
            yield islice(batches, self._grouped), min(step, count - start)
        # They come to their end here: an interrupt while they are deleted would be lost.
        next(batches, None)

    def signature(self) -> dict[str, Any]:
        """Return what has to be the same for a training to go on; see `Feed.signature`."""
        shapes = [list(one.shape[1:]) for one in self.samples.x]
        return {**super().signature(), "samples": len(self.samples), "shapes": shapes}


def warn_of_end() -> None:
    """Warn as Keras does where data end before an epoch."""
    warnings.warn(
        "Your input ran out of data; interrupting training. Make sure that your dataset or generator can "
        "generate at least `steps_per_epoch * epochs` batches.",
        stacklevel=4,
    )
