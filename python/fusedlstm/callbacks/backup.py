"""`BackupAndRestore`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fusedlstm.base import checks
from fusedlstm.callbacks.writer import Writer
from fusedlstm.io.destinations import Destinations, make_folder

if TYPE_CHECKING:
    import os

    from fusedlstm.callbacks.base import ExpectedLogs, Logs


class BackupAndRestore(Writer):
    """Backs a training up after epochs, and lets `fit` go on from there when it is called again.

    A backup holds weights, optimizer, learning rate, states of layers and random streams. A training that was
    killed and is called again, in a new process, goes on with the epoch after the backup, and gets the same
    weights, bit for bit, as one that was not. Other callbacks start anew, as in Keras; one that sets the
    learning rate comes before this one. A backup that fails later warns, and leaves the last good one and the
    training alone; `fit` raises the first such error when it is complete.

    Parameters
    ----------
    backup_dir : path-like
        Folder of the backup, which nothing else writes to; it is made if it is missing.
    save_freq : {"epoch"} or int
        When to save: after epochs, or after so many updates. A training that goes on from inside of an epoch
        runs that epoch from its start with the newer weights, as in Keras.
    double_checkpoint : bool
        Whether the backup before is kept too, for when the last one is damaged.
    delete_checkpoint : bool
        Whether a complete training removes its backups.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong. `fit` raises OSError or ImportError before it begins if no backup can be
        written, and ValueError for one of another model.
    """

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ) -> None:
        self.backup_dir = str(checks.path(backup_dir, "backup_dir"))
        self.save_freq = save_freq if save_freq == "epoch" else checks.positive_int(save_freq, "save_freq")
        self.double_checkpoint = checks.flag(double_checkpoint, "double_checkpoint")
        self.delete_checkpoint = checks.flag(delete_checkpoint, "delete_checkpoint")
        self._latest = Path(self.backup_dir, "latest.safetensors")
        self._previous = Path(self.backup_dir, "previous.safetensors")
        self._epoch = self._updates = 0

    def check_before_training(self, logs: ExpectedLogs) -> None:
        """Raise if no backup can be written."""
        super().check_before_training(logs)
        self._destinations = Destinations("backup_dir", makes_folders=True)
        self._destinations.try_saving(self._write, self._latest)

    def on_train_begin(self, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Go on from a backup if there is one."""
        self._epoch, self._updates = self.model.initial_epoch, 0
        found = [path for path in (self._latest, self._previous) if path.exists()]
        for path in found:
            try:
                self._read(path)
            except (OSError, ValueError):
                if path is found[-1]:
                    raise
            else:
                return

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Save if it is time to."""
        self._updates += 1
        if isinstance(self.save_freq, int) and self._updates % self.save_freq == 0:
            self._save()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Save if it is time to."""
        self._epoch = epoch + 1
        if self.save_freq == "epoch":
            self._save()

    def on_train_end(self, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Remove the backups if asked to, and their folder if there is nothing else in it."""
        if self.delete_checkpoint:
            self._latest.unlink(missing_ok=True)
            self._previous.unlink(missing_ok=True)
            folder = Path(self.backup_dir)
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def _save(self) -> None:
        self.attempt(f"{self._latest} in epoch {self._epoch}", self._replace)

    def _replace(self) -> None:
        make_folder(self._latest)
        if self.double_checkpoint and self._latest.exists():
            self._latest.replace(self._previous)
        self._write(self._latest)

    def _write(self, path: Path) -> None:
        from fusedlstm.models.backup import write_backup

        write_backup(self.model, path, self._epoch)

    def _read(self, path: Path) -> None:
        from fusedlstm.models.backup import read_backup

        self._epoch = self.model.initial_epoch = read_backup(self.model, path)
