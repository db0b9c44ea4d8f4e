"""`PyDataset`: batches by their number."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


class PyDataset:
    """Base of classes that make batches by their number; `fit`, `evaluate` and `predict` take them as ``x``.

    A class of one's own defines ``__getitem__`` and ``__len__``, the number of batches. `fit` calls
    `on_epoch_begin` before an epoch and `on_epoch_end` after it, and, as Keras does, `on_epoch_end` once
    before the first.

    Parameters
    ----------
    workers : int
        Threads that make the next batches meanwhile; with 1, batches are made when they are needed.
    use_multiprocessing : bool
        In Keras's place: workers are threads here.
    max_queue_size : int
        How many batches may be ready or in the making, if there are several workers.
    """

    # Classes that leave out super().__init__() have them too.
    workers = 1
    use_multiprocessing = False
    max_queue_size = 10

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10) -> None:
        self.workers = workers
        self.use_multiprocessing = use_multiprocessing
        self.max_queue_size = max_queue_size

    def __getitem__(self, index: int) -> Any:
        """Return a batch: ``(inputs,)``, ``(inputs, targets)`` or ``(inputs, targets, sample_weights)``."""
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__")

    @property
    def num_batches(self) -> int | None:
        """The number of batches, which a subclass without an end overrides by None."""
        if not hasattr(self, "__len__"):
            raise NotImplementedError(f"{type(self).__name__} must define __len__ or num_batches")
        return len(self)

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches in order."""
        batches = self.num_batches
        for index in count() if batches is None else range(batches):
            yield self[index]

    def on_epoch_begin(self) -> None:
        """Act before an epoch."""

    def on_epoch_end(self) -> None:
        """Act after an epoch, such as by shuffling."""

    def get_state(self) -> Any:
        """Return what a training that was interrupted goes on from, besides the batches' numbers.

        None, the default, stands for what `on_epoch_begin` and `on_epoch_end` do: they are called again as
        often as before the interruption. A dataset that draws random numbers of its own in `__getitem__`
        returns where its generator is, as a value of plain Python and NumPy; it has one worker then.
        """
        return None

    def set_state(self, state: Any) -> None:
        """Go on where `get_state` returned this, which was not None."""
        raise NotImplementedError(f"{type(self).__name__} must define set_state, as it defines get_state")
