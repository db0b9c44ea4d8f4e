"""`BackupAndRestore`."""

from __future__ import annotations

import signal
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from fusedlstm.base import checks
from fusedlstm.callbacks.backup_files import BackupFiles
from fusedlstm.callbacks.preemption import Termination
from fusedlstm.callbacks.writer import Writer
from fusedlstm.io.destinations import Destinations
from fusedlstm.io.safetensors import read_tensors, write_tensors

if TYPE_CHECKING:
    import os

    from fusedlstm.callbacks.backup_files import Snapshot
    from fusedlstm.callbacks.base import Logs, Training


class BackupAndRestore(Writer):
    """Backs a training up, and lets `fit` go on where it was when it is called again.

    A backup holds all that changes in a training: weights, optimizer, learning rate, states of stateful
    layers, random streams, the place in the epoch and its order, the sums of its losses and metrics, the
    history, and what the other callbacks return from ``get_state``. A training that was killed and is
    called again by the same lines, in a new process, goes on after the step of its last backup: weights,
    optimizer and history get the same bits as in one that was never interrupted.

    A backup that fails warns, and leaves those before and the training alone; `fit` raises the first such
    error when it is complete. A damaged backup warns, and the one before it is taken.

    Parameters
    ----------
    backup_dir : path-like
        Folder of the backups, for one training at a time; it is made if it is missing.
    save_freq : {"epoch"} or int
        When to save: after epochs, or after so many steps.
    double_checkpoint : bool
        Keras's name of ``keep=2``.
    delete_checkpoint : bool
        Whether a complete training removes its backups. Otherwise `fit` finds it complete when it is called
        again, or goes on if it is to have more epochs.
    keep : int, optional
        How many backups stay, for when the last one is damaged; 1 by default.
    background : bool
        Whether a thread writes them while the training goes on, from a copy of all that is written. A save
        that is due after a number of steps waits for the end of the one before, without holding the steps
        up.
    save_before_exit : bool
        Whether SIGTERM, by which clusters end jobs, saves after the step that is under way and ends the
        process by ``SystemExit(BackupAndRestore.EXIT_CODE)``, or with 143 if it could not be saved. That is
        for trainings in the main thread. A validation ends at once, and is made again later.

    Attributes
    ----------
    EXIT_CODE : int
        75, which sysexits.h calls a temporary failure: the same command goes on.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong. `fit` raises, before the first step, OSError or ImportError if no backup
        can be written or another training uses the folder, and ValueError that names what differs for a
        backup of another model, optimizer, loss, metrics, or size of data or batches, or one that is newer
        than ``initial_epoch``, and for data that cannot be wound forward.
    """

    fresh: ClassVar[tuple[str, ...]] = ("_files", "_held", "_signal")

    EXIT_CODE: ClassVar[int] = 75

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
        *,
        keep: int | None = None,
        background: bool = True,
        save_before_exit: bool = False,
    ) -> None:
        self.backup_dir = str(checks.path(backup_dir, "backup_dir"))
        self.save_freq = save_freq if save_freq == "epoch" else checks.positive_int(save_freq, "save_freq")
        self.double_checkpoint = checks.flag(double_checkpoint, "double_checkpoint")
        self.delete_checkpoint = checks.flag(delete_checkpoint, "delete_checkpoint")
        least = 2 if self.double_checkpoint else 1
        self.keep = least if keep is None else checks.positive_int(keep, "keep")
        if self.keep < least:
            raise ValueError("keep: expected at least 2 with double_checkpoint, got 1")
        self.background = checks.flag(background, "background")
        self.save_before_exit = checks.flag(save_before_exit, "save_before_exit")
        self._steps = 0
        self._due = False
        self._what = self.backup_dir  # of which the last save was
        self._files: BackupFiles | None = None
        self._signal: Termination | None = None
        self._held: Snapshot | None = None  # the place before a validation

    def get_state(self) -> dict[str, int]:
        """Return the number of steps, which decides when to save; see `Callback.get_state`."""
        return {"steps": self._steps}

    def set_state(self, state: dict[str, int]) -> None:
        """Count on from there; see `Callback.set_state`."""
        self._steps = state["steps"]

    def restore(self, training: Training) -> None:
        """Find what the training goes on from, and raise for all that would keep it from being saved."""
        snapshot = training.snapshot()
        self._destinations = Destinations("backup_dir", makes_folders=True)
        trial = Path(self.backup_dir, "backup.safetensors")
        self._destinations.try_saving(lambda path: write_tensors(path, *snapshot), trial)
        self._files = BackupFiles(self.backup_dir, self.keep, self.background)
        self._steps, self._due = 0, False
        found = self._files.newest_first()
        for path in found:
            try:
                arrays, metadata = read_tensors(path)
            except (OSError, ValueError) as error:
                if path is found[-1]:
                    raise
                self._files.distrust(path)
                warnings.warn(
                    f"BackupAndRestore: the newest backup is damaged, and the one before is taken: {error}",
                    stacklevel=3,
                )
            else:
                training.go_on_from(arrays, metadata, path)
                break
        if self.save_before_exit:
            self._signal = Termination()

    def at_rest(self, training: Training) -> None:
        """Save if it is time to, or leave if the process is to end; remove the backups if all is done."""
        assert self._files is not None  # restore has made it
        if training.complete:
            self._settle()
            if self.delete_checkpoint:
                self.attempt(self.backup_dir, self._files.remove)
            return
        if self._signal is not None and self._signal.came:
            self._leave(training.snapshot())
        if training.validates:
            # An epoch's sums are gone when its validation has begun.
            self._held = None if self._signal is None else training.snapshot()
            return
        self._held = None
        if training.step:
            self._steps += 1
            self._due |= self.save_freq != "epoch" and self._steps % int(self.save_freq) == 0
            if not self._due or self._files.busy:
                return
        elif self.save_freq != "epoch" and not self._due:
            return
        self._save(training.snapshot(), f"{self.backup_dir} in epoch {training.epoch + (training.step > 0)}")

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Leave from the midst of a validation if the process is to end."""
        if self._held is not None and self._signal is not None and self._signal.came:
            self._leave(self._held)

    def _save(self, snapshot: Snapshot, what: str) -> bool:
        self._due = False
        self._settle()
        assert self._files is not None
        files, self._what = self._files, what
        return self.attempt(what, lambda: files.write(snapshot))

    def _settle(self) -> bool:
        """Wait for what is being written, and outlive its error; return whether there was none."""
        return self._files is None or self.attempt(self._what, self._files.wait)

    def _leave(self, snapshot: Snapshot) -> None:
        assert self._signal is not None
        self._signal.came = False
        saved = self._save(snapshot, f"{self.backup_dir} at the end of the process") and self._settle()
        raise SystemExit(self.EXIT_CODE if saved else 128 + signal.SIGTERM)

    def release(self) -> None:
        """Wait for what is being written, leave the folder to others, and SIGTERM to who had it before."""
        super().release()
        files, self._files, self._held = self._files, None, None
        if files is not None:
            self.attempt(self._what, files.close)
        termination, self._signal = self._signal, None
        if termination is not None:
            termination.close()
