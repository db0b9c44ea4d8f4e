"""`ModelCheckpoint`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusedlstm.base import checks
from fusedlstm.callbacks.monitors import Monitor
from fusedlstm.callbacks.writer import Writer
from fusedlstm.io.destinations import Destinations, make_folder
from fusedlstm.io.endings import MODELS, WEIGHTS, check_ending

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from fusedlstm.callbacks.base import ExpectedLogs, Logs

# Names of so many saves, and of the last one, are checked before a training: more take longer to check than
# they are worth, where the number of epochs only stands for "until it is stopped".
_MOST_NAMES = 10_000
# For logs in names: as many digits as logs usually have.
_USUAL = 2 / 3


class ModelCheckpoint(Monitor, Writer):
    """Saves the model after epochs, or after a number of updates.

    All that can be known to fail is found before the first batch: by a save that is thrown away, and by the
    names of those to come, of which the first 10,000 and the last are looked at. A save that fails later
    warns, and leaves the file of the last good one and the training alone; `fit` raises the first such error
    when it is complete.

    Parameters
    ----------
    filepath : path-like
        File, with ``{epoch}``, for an integer `save_freq` ``{batch}``, both counted from 1, and logs such as
        ``{val_loss:.2f}`` to be filled in. Folders that are missing are made, where links lead to as well.
    monitor : str
        Key in the logs; used with `save_best_only`.
    verbose : int
        1 to print each save.
    save_best_only : bool
        Whether only better values than before are saved.
    save_weights_only : bool
        Whether weights are saved (``.weights.h5``) rather than the model (``.safetensors`` or ``.keras``).
    mode : {"auto", "min", "max"}
        Which direction is better; "auto" takes "max" for accuracies, AUC, precision, recall and scores.
    save_freq : {"epoch"} or int
        When to save: after epochs, or after so many updates.
    initial_value_threshold : float, optional
        Value that must be passed to be better at first. Without one the first value is the best so far,
        whatever it is, as in Keras.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong. `fit` raises them too, and OSError and ImportError, for what shows only with
        the model: logs that there will not be, places that cannot be written, layers that a file cannot
        hold.
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode)
        self.filepath = str(checks.path(filepath, "filepath"))
        self.verbose = verbose
        self.save_best_only = checks.flag(save_best_only, "save_best_only")
        self.save_weights_only = checks.flag(save_weights_only, "save_weights_only")
        self.save_freq = save_freq if save_freq == "epoch" else checks.positive_int(save_freq, "save_freq")
        if initial_value_threshold is not None:
            initial_value_threshold = checks.number(initial_value_threshold, "initial_value_threshold")
        self.best = initial_value_threshold
        self._epoch = self._updates = 0
        self._expected = False
        check_ending(self.filepath, self._endings, "filepath")

    @property
    def _endings(self) -> tuple[str, ...]:
        return WEIGHTS if self.save_weights_only else MODELS

    def check_before_training(self, logs: ExpectedLogs) -> None:
        """Raise for all that can be known to keep the model from being saved."""
        super().check_before_training(logs)
        batches = isinstance(self.save_freq, int)
        known, is_open = (logs.batch, logs.batch_open) if batches else (logs.epoch, logs.epoch_open)
        when = "batches" if batches else "epochs"
        self._expected = self.monitor in known
        if self.save_best_only and not self._expected and not is_open:
            raise ValueError(f"monitor: expected a log of {when}, {list(known)}, got {self.monitor!r}")
        names: dict[str, None] = {}
        for own in self._numbers(logs.epochs):
            numbers: dict[str, Any] = {**own, **dict.fromkeys(known, _USUAL)}
            try:
                names[self.filepath.format_map(_Guess(numbers) if is_open else numbers)] = None
            except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
                raise ValueError(
                    f"filepath: expected names of {list(numbers)} in braces, as {when} have them, "
                    f"got {self.filepath!r} ({error!r})"
                ) from error
        self._destinations = Destinations("filepath", makes_folders=True)
        first, *others = names
        for name in names:
            check_ending(name, self._endings, "filepath")
        self._destinations.try_saving(self._write, first)
        for name in others:
            self._destinations.check(name)

    def _numbers(self, epochs: range) -> Iterator[dict[str, int]]:
        """Yield the numbers in names of the saves to come, or of one if there will be none."""
        if not isinstance(self.save_freq, int):
            for epoch in _ends(epochs) or [epochs.start]:
                yield {"epoch": epoch + 1}
            return
        steps = self.params["steps"]
        if steps is None:
            yield from ({"epoch": epoch + 1, "batch": 1} for epoch in _ends(epochs) or [epochs.start])
            return
        first = self.save_freq - self._updates % self.save_freq - 1
        for update in _ends(range(first, steps * len(epochs), self.save_freq)) or [0]:
            yield {"epoch": epochs.start + update // steps + 1, "batch": update % steps + 1}

    def get_state(self) -> dict[str, Any]:
        """Return the best so far and the number of updates; see `Callback.get_state`."""
        return {"best": self.best, "updates": self._updates}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on with that; see `Callback.set_state`."""
        self.best, self._updates = state["best"], state["updates"]

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Remember the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Save if it is time to."""
        self._updates += 1
        if isinstance(self.save_freq, int) and self._updates % self.save_freq == 0:
            self._save({"batch": batch + 1}, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Save if it is time to."""
        if self.save_freq == "epoch":
            self._save({}, logs)

    def _save(self, numbers: dict[str, int], logs: Logs | None) -> None:
        values = logs or {}
        what = f"{self.filepath} in epoch {self._epoch + 1}"
        if self.save_best_only:
            if self.monitor not in values:
                # Not all epochs have a validation. Otherwise it was left open before the training whether a
                # callback would add this log.
                if not self._expected:
                    error = KeyError(
                        f"monitor: expected one of the logs {list(values)}, got {self.monitor!r}"
                    )
                    self.outlive(what, error)
                return
            if not self.better(values[self.monitor], self.best):
                return
        if self.attempt(what, lambda: self._write_as(numbers, values)) and self.save_best_only:
            self.best = values[self.monitor]
        self.release()  # One that reads from a pipe gets what was written, and its end.

    def _write_as(self, numbers: dict[str, int], values: Logs) -> None:
        path = Path(self.filepath.format(epoch=self._epoch + 1, **{**values, **numbers}))
        make_folder(path)
        self._write(path)
        if self.verbose:
            print(f"Epoch {self._epoch + 1}: saved {path}")

    def _write(self, path: Path) -> None:
        if self.save_weights_only:
            self.model.save_weights(path)
        else:
            self.model.save(path)


def _ends(numbers: range) -> list[int]:
    """Return the numbers, or the first and the last of very many."""
    return [*numbers[:_MOST_NAMES], *numbers[_MOST_NAMES:][-1:]]


class _Guess(dict[str, Any]):
    """Numbers for the logs that are known, and for any other that a callback may add."""

    def __missing__(self, name: str) -> float:
        return _USUAL
