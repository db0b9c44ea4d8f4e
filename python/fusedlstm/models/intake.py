"""`Intake`: what comes as the data of a run, checked, as a feed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from fusedlstm.base import checks
from fusedlstm.base.scales import warn_of_scale
from fusedlstm.models.agreeing import check_shared
from fusedlstm.models.batch_feeding import BatchFeed, parts_of
from fusedlstm.models.batching import BatchTrainer
from fusedlstm.models.feeding import ArrayFeed, Feed, yields_batches
from fusedlstm.models.prechecks import Batches, check_stateful, may_reset
from fusedlstm.models.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fusedlstm.base.seeds import SeedGenerator
    from fusedlstm.callbacks import CallbackList
    from fusedlstm.models.weighting import ClassWeight

# From a warning in `_validation_feed` up to the line that calls `fit`, past what guards `fit`.
_CALLER = 4


class Intake(BatchTrainer):
    """What `Trainer` inherits to take arrays, and what yields batches."""

    def _array_feed(
        self,
        samples: Samples,
        batch_size: int | None,
        steps: int | None,
        grouped: int = 1,
        seeds: SeedGenerator | None = None,
    ) -> Feed:
        """Return a feed of checked samples, in batches of 32 or, as in Keras, as many as give the steps."""
        if batch_size is None:
            batch_size = 32 if steps is None else -(-len(samples) // (steps * grouped))
        return ArrayFeed(samples, batch_size, self._batches, steps, grouped, seeds)

    def _batch_feed(
        self,
        data: Any,
        name: str,
        steps: int | None,
        grouped: int = 1,
        seeds: SeedGenerator | None = None,
        **checked: Any,
    ) -> Feed:
        """Return a feed of what yields batches."""
        check = partial(self._checked_batch, name=name, **checked)
        return BatchFeed(data, name, check, self._batches, steps, grouped, seeds)

    def _test_feed(
        self,
        x: Any,
        y: Any,
        sample_weight: Any,
        batch_size: int | None,
        steps: int | None,
        name: str = "x",
        like: Sequence[Any] | None = None,
    ) -> Feed:
        """Return a feed of samples with labels; those of a model not built yet are like others."""
        if yields_batches(x):
            refuse_beside(x, y=y, sample_weight=sample_weight)
            return self._batch_feed(x, name, steps, like=like)
        prefix = "" if name == "x" else f"{name} "
        return self._array_feed(self._samples(x, y, sample_weight, prefix, like), batch_size, steps)

    def _validation_feed(self, given: Any, train: Feed, batch_size: int | None, steps: int | None) -> Feed:
        """Return the feed of `fit`'s ``validation_data``; warn of numbers of another scale, ids excepted."""
        if yields_batches(given):
            return self._test_feed(given, None, None, batch_size, steps, "validation_data", train.samples.x)
        if not isinstance(given, tuple | list) or len(given) not in (2, 3):
            raise ValueError(
                "validation_data: expected (x, y) or (x, y, sample_weight), or what yields them, "
                f"got {type(given).__name__}"
            )
        x, y, weights = parts_of(given)
        feed = self._test_feed(x, y, weights, batch_size, steps, "validation_data", train.samples.x)
        if isinstance(train, ArrayFeed) and isinstance(feed, ArrayFeed):
            pairs = zip(train.samples.x, feed.samples.x, self._input_ids, strict=True)
            for number, (one, other, ids) in enumerate(pairs):
                if ids is None:
                    name = self.input_structure.argument("validation_data x", number)
                    warn_of_scale(one, other, name, stacklevel=_CALLER)
        return feed

    def _checked_batch(
        self,
        batch: Any,
        name: str,
        labelled: bool = True,
        like: Sequence[Any] | None = None,
        class_weight: ClassWeight | None = None,
    ) -> Samples:
        """Check a batch as it came."""
        x, y, weights = parts_of(batch)
        if labelled:
            samples = self._samples(x, y, weights, like=like, class_weight=class_weight)
        else:
            samples = Samples(self._checked(x, "x"))
            self._output_shapes_for(samples.x)
        check_stateful(self.layers, [Batches(name, len(samples), len(samples))])
        return samples

    def _check_passes(
        self, watchers: CallbackList, *passes: tuple[str, Feed], training: bool = False, measured: bool = True
    ) -> None:
        """Check passes that come one after the other, as far as their sizes are known; share them out."""
        if self.group is not None:
            for _, feed in passes:
                feed.shared = True
            check_shared(self.group, self, passes[:1] if training else (), measured=measured)
            self.group.begin()
        sizes = [Batches(name, len(feed.samples), feed.size) for name, feed in passes]
        check_stateful(self.layers, sizes, resets=may_reset(watchers.callbacks))


def refuse_beside(x: object, **given: object) -> None:
    """Raise `ValueError` if there is what batches have themselves beside what yields them."""
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{name}: expected None, as x, a {type(x).__name__}, yields batches, got {name}")


def optional_size(value: Any, name: str) -> int | None:
    """Return a positive integer, or None."""
    return None if value is None else checks.positive_int(value, name)


def due(validation_freq: Any) -> Callable[[int], bool]:
    """Return what tells whether an epoch, counted from 1, ends with a validation."""
    if isinstance(validation_freq, list | tuple):
        epochs = {checks.positive_int(epoch, "validation_freq") for epoch in validation_freq}
        return epochs.__contains__
    every = checks.positive_int(validation_freq, "validation_freq")
    return lambda epoch: epoch % every == 0
