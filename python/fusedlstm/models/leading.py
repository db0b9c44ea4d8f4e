"""What rank 0 decides for all: callbacks run there alone, and the others follow."""

from __future__ import annotations

import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fusedlstm.base import versions
from fusedlstm.callbacks.backup import BackupAndRestore
from fusedlstm.callbacks.base import HOOKS, Callback, History
from fusedlstm.callbacks.preemption import Termination
from fusedlstm.callbacks.progress import ProgressBar
from fusedlstm.models.states import get_flags, set_flags

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fusedlstm.models.sharing import Group

_STOPS = ("stop_training", "stop_evaluating", "stop_predicting")


class Leaving(SystemExit):
    """The end of all ranks' processes, which rank 0 has decided and told."""


class Leader:
    """Lets rank 0's callbacks steer all ranks.

    Parameters
    ----------
    group : Group or None
        The ranks; without them nothing is told to anybody.
    model
        The model, built.
    callbacks : sequence of Callback
        Those of this rank.

    Attributes
    ----------
    of_batches : bool
        Whether there is somebody to follow after each batch.
    """

    def __init__(self, group: Group | None, model: Any, callbacks: Sequence[Callback]) -> None:
        self._group = group if group is not None and group.size > 1 else None
        self._model = model
        self._termination: Termination | None = None
        self.of_batches = False
        if self._group is None:
            return
        leaves = any(isinstance(one, BackupAndRestore) and one.save_before_exit for one in callbacks)
        found = self._group.communicator.bcast((any(map(_acts_after_batches, callbacks)), leaves))
        self.of_batches, leaves = found
        if leaves and self._group.rank:
            # Rank 0 saves first, and then all leave.
            self._termination = Termination()

    @contextmanager
    def after_batch(self) -> Iterator[None]:
        """Return a context of calls of callbacks that come with each batch."""
        if not self.of_batches:
            yield
            return
        with self.decides():
            yield

    @contextmanager
    def decides(self) -> Iterator[None]:
        """Return a context whose changes of the model on rank 0 are made on all ranks.

        They are the learning rate, weights and states of the optimizer, what is frozen, what ends, and the
        end of the process. The model is not shared meanwhile: callbacks may predict on rank 0 alone.
        """
        group = self._group
        if group is None:
            yield
            return
        before = [variable.version for variable in self._variables()] if group.rank == 0 else []
        self._model.group = None
        try:
            yield
        except SystemExit as error:
            if group.rank == 0:
                group.communicator.bcast({"leaves": error.code})
                raise Leaving(error.code) from error
            raise
        finally:
            self._model.group = group
        news = group.communicator.bcast(self._news(before) if group.rank == 0 else None)
        if group.rank:
            self._follow(news)

    def _variables(self) -> list[Any]:
        optimizer = self._model.optimizer
        return [*self._model.weights, *([] if optimizer is None else optimizer.everything)]

    def _news(self, before: list[int]) -> dict[str, Any]:
        model, optimizer = self._model, self._model.optimizer
        return {
            "stops": [bool(getattr(model, name)) for name in _STOPS],
            "initial_epoch": model.initial_epoch,
            "rate": None if optimizer is None or optimizer.scheduled else float(optimizer.learning_rate),
            "flags": get_flags(model),
            "values": [
                (place, variable.numpy())
                for place, (variable, version) in enumerate(zip(self._variables(), before, strict=True))
                if variable.version != version
            ],
        }

    def _follow(self, news: dict[str, Any]) -> None:
        if "leaves" in news:
            if self._termination is not None:
                self._termination.came = False
            raise Leaving(news["leaves"])
        model, optimizer = self._model, self._model.optimizer
        for name, value in zip(_STOPS, news["stops"], strict=True):
            setattr(model, name, value)
        model.initial_epoch = news["initial_epoch"]
        if news["rate"] is not None and float(optimizer.learning_rate) != news["rate"]:
            optimizer.learning_rate = news["rate"]
        if get_flags(model) != news["flags"]:
            set_flags(model, news["flags"])
        variables = self._variables()
        changed = [variables[place] for place, _ in news["values"]]
        if changed:
            with versions.writing(changed):
                for variable, (_, value) in zip(changed, news["values"], strict=True):
                    variable.assign(value)

    def tell(self, value: Any) -> Any:
        """Return rank 0's value on all ranks."""
        return value if self._group is None else self._group.communicator.bcast(value)

    def close(self) -> None:
        """Leave SIGTERM to who had it before."""
        termination, self._termination = self._termination, None
        if termination is not None:
            termination.close()


def _acts_after_batches(callback: Callback) -> bool:
    if isinstance(callback, ProgressBar | History):
        return False
    hooks = [hook for hook in HOOKS if "batch" in hook]
    acts = any(getattr(type(callback), hook) is not getattr(Callback, hook) for hook in (*hooks, "at_rest"))
    return acts or any(hook in vars(callback) for hook in hooks)


@contextmanager
def all_or_none(group: Group | None) -> Iterator[None]:
    """Return a context that ends the processes of all ranks if it raises on one, with its reason.

    They would wait for it in their next exchange. `Leaving` passes: all ranks leave by it together.
    """
    if group is None or group.size == 1:
        yield
        return
    try:
        yield
    except Leaving:
        raise
    except BaseException as error:
        text = "".join(traceback.format_exception(error)).rstrip()
        group.communicator.abort(f"{type(error).__name__}: {error}\n{text}")
