"""`Training`: a run of `fit`, its place, and how it goes on from a backup."""

from __future__ import annotations

import warnings
from collections import Counter
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fusedlstm.base.seeds import get_random_states, set_random_states
from fusedlstm.io.values import decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from fusedlstm.callbacks import Callback
    from fusedlstm.models.feeding import Feed

    Arrays = Mapping[str, NDArray[Any]]
    Found = tuple[Arrays, dict[str, Any]]  # arrays of a backup, and the rest of it

_VERSION = 2
_TEXT, _FORMAT = "training", "backup"


class Training:
    """A run of `fit`, as its callbacks see it.

    Parameters
    ----------
    model
        Compiled and built.
    feed, held_out : Feed
        Its data, and those of its validation.
    callbacks : iterable of Callback
        All of them.
    epoch : int
        The number of the first epoch.

    Attributes
    ----------
    epoch : int
        The epoch that is under way, or comes next.
    step : int
        Steps that it has had; 0 before it begins.
    logs : dict
        Those of the last epoch that is complete.
    validates : bool
        Whether the epoch's validation comes next.
    ended : bool
        Whether a callback has ended the training.
    complete : bool
        Whether all is done.
    resumed : bool
        Whether it goes on from a backup.
    """

    def __init__(
        self, model: Any, feed: Feed, held_out: Feed | None, callbacks: Iterable[Callback], epoch: int
    ) -> None:
        self._model, self._feed, self._held_out = model, feed, held_out
        self._callbacks = list(callbacks)
        self.epoch, self.step = epoch, 0
        self.logs: dict[str, float] = {}
        self.validates = self.complete = self.resumed = self.ended = False
        self._found: Found | None = None
        for callback in self._callbacks:
            callback.resumed = False

    @cached_property
    def _signature(self) -> dict[str, Any]:
        from fusedlstm.models.fingerprint import fingerprint

        return fingerprint(self._model, self._feed, self._held_out)

    @contextmanager
    def validating(self) -> Iterator[None]:
        """Return a context in which a validation runs, after all steps of an epoch."""
        self.validates = True
        yield
        self.validates = False

    def end_epoch(self, logs: dict[str, float]) -> None:
        """Take the logs of an epoch that is complete."""
        self.epoch, self.step, self.logs = self.epoch + 1, 0, logs
        self.ended = bool(self._model.stop_training)

    def snapshot(self) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
        """Return copies of all that this run goes on from, as `fusedlstm.io.safetensors` writes it.

        Raises
        ------
        TypeError
            If the state of a callback, metric or dataset holds something that a file cannot.
        """
        from fusedlstm.models.backup import state_of

        arrays, state = state_of(self._model)
        inside = self.step > 0
        value = {
            "version": _VERSION,
            "of": self._signature,
            "epoch": self.epoch,
            "step": self.step,
            "logs": self.logs,
            "model": state,
            "random": get_random_states(),
            "x": self._feed.get_state(inside),
            "validation_data": None if self._held_out is None else self._held_out.get_state(False),
            "callbacks": [[*key, callback.get_state()] for key, callback in self._named().items()],
        }
        text, others = encode(value, _TEXT)
        return {**arrays, **others}, {_FORMAT: str(_VERSION), _TEXT: text}

    def go_on_from(self, arrays: Arrays, metadata: Mapping[str, str], path: Path) -> None:
        """Take a place from `snapshot`'s results; what the run has so far is put back by `put_back`.

        Raises
        ------
        ValueError
            If they are of another training, or its data cannot be wound forward.
        """
        from fusedlstm.models.fingerprint import differences

        if metadata.get(_FORMAT) != str(_VERSION) or _TEXT not in metadata:
            raise ValueError(f"{path}: expected a backup of this version of fusedlstm, got another file")
        value = decode(metadata[_TEXT], arrays, str(path))
        found = differences(value["of"], self._signature)
        if found:
            raise ValueError(
                f"{path}: expected a backup of this training, got one that differs in {', '.join(found)}; go "
                "on with what it was made with, or remove the folder to begin anew"
            )
        if self.epoch > value["epoch"]:
            raise ValueError(
                f"initial_epoch: expected at most {value['epoch']}, where the backup {path} goes on, "
                f"got {self.epoch}"
            )
        self._take((arrays, value))

    def _take(self, found: Found) -> None:
        _, value = found
        self._feed.set_state(value["x"])
        if self._held_out is not None:
            self._held_out.set_state(value["validation_data"])
        self.epoch, self.step, self.logs = value["epoch"], value["step"], value["logs"]
        self._found, self.resumed = found, True
        for callback in self._callbacks:
            callback.resumed = True

    @property
    def found(self) -> Found | None:
        """What it goes on from, before `put_back`."""
        return self._found

    def follow(self, found: Found | None) -> None:
        """Go on from what rank 0 has found; None for nothing.

        Raises
        ------
        ValueError
            If the data cannot be wound forward.
        """
        if found is None:
            return
        arrays, value = found
        # Callbacks run on the rank that has them; each has its history.
        own = {kind for kind, _ in self._named()}
        states = [state for state in value["callbacks"] if state[0] in own]
        self._take((arrays, {**value, "callbacks": states}))

    def put_back(self) -> None:
        """Put weights, optimizer, random streams, sums and callbacks where they were, if there is a backup.

        It comes last, when all have been told of the begin of the training, and of an epoch that is under
        way: what they did then is undone.
        """
        if self._found is None:
            return
        from fusedlstm.models.backup import put_back

        (arrays, value), self._found = self._found, None
        put_back(self._model, arrays, value["model"])
        own = self._named()
        for kind, number, state in value["callbacks"]:
            callback = own.get((kind, number))
            if callback is not None:
                callback.set_state(state)
            elif state:
                warnings.warn(
                    f"the backup has a state of {kind}, which is not among the callbacks any more",
                    stacklevel=3,
                )
        self.ended = not self.step and self._model.stop_training
        set_random_states(value["random"])

    def _named(self) -> dict[tuple[str, int], Callback]:
        """Return the callbacks by their classes, and their numbers among those of the same class."""
        seen: Counter[str] = Counter()
        found = {}
        for callback in self._callbacks:
            kind = f"{type(callback).__module__}.{type(callback).__qualname__}"
            found[kind, seen[kind]] = callback
            seen[kind] += 1
        return found
