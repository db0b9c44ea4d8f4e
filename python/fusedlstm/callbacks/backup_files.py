"""`BackupFiles`: the backups in a folder, the newest ones, written one at a time."""

from __future__ import annotations

import contextlib
import re
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from fusedlstm.io.locks import FolderLock
from fusedlstm.io.safetensors import write_tensors

if TYPE_CHECKING:
    from fusedlstm.base.types import Array

    Snapshot: TypeAlias = tuple[dict[str, Array], dict[str, str]]

_NAME = re.compile(r"backup-(\d{8,})\.safetensors")


class BackupFiles:
    """A folder's backups, which this object alone writes, until it is closed.

    A new one has the next number. It is complete before it has its name, and the oldest go after that, so
    that there is one to go on from at any moment.

    Parameters
    ----------
    folder : str
        Made if it is missing.
    keep : int
        How many stay.
    background : bool
        Whether a thread of its own writes.

    Raises
    ------
    OSError
        If another process or run writes there, or the folder cannot be made.
    """

    def __init__(self, folder: str, keep: int, background: bool) -> None:
        self._folder, self._keep = Path(folder), keep
        self._damaged: set[Path] = set()
        self._writing: Future[None] | None = None
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = FolderLock(self._folder, "backup_dir")
        self._pool = ThreadPoolExecutor(1, "fusedlstm-backup") if background else None

    def newest_first(self) -> list[Path]:
        """Return the backups that there are."""
        found = [
            (int(match[1]), path) for path in self._folder.iterdir() if (match := _NAME.fullmatch(path.name))
        ]
        return [path for _, path in sorted(found, reverse=True)]

    def next_path(self) -> Path:
        """Return the path of the next backup."""
        newest = next(iter(self.newest_first()), None)
        number = 0 if newest is None else int(newest.stem.rpartition("-")[2])
        return self._folder / f"backup-{number + 1:08}.safetensors"

    def distrust(self, path: Path) -> None:
        """Do not count a damaged backup, which goes with the next good one."""
        self._damaged.add(path)

    @property
    def busy(self) -> bool:
        """Whether one is written at this moment."""
        return self._writing is not None and not self._writing.done()

    def write(self, snapshot: Snapshot) -> None:
        """Write a backup, or begin to, after the one before.

        Raises
        ------
        OSError
            If the one before, or this one, could not be written.
        """
        self.wait()
        if self._pool is None:
            self._write(snapshot)
        else:
            self._writing = self._pool.submit(self._write, snapshot)

    def wait(self) -> None:
        """Wait until nothing is written; raise the error of what was, once."""
        writing = self._writing
        if writing is not None:
            try:
                writing.result()
            finally:
                if writing.done():  # not after an interrupt
                    self._writing = None

    def _write(self, snapshot: Snapshot) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        write_tensors(self.next_path(), *snapshot)
        while self._damaged:
            self._damaged.pop().unlink(missing_ok=True)
        for path in self.newest_first()[self._keep :]:
            path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove all backups."""
        for path in self.newest_first() if self._folder.is_dir() else []:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Wait for the last one, and leave the folder to others; without anything in it, it goes."""
        try:
            self.wait()
        finally:
            if self._pool is not None:
                self._pool.shutdown()
            self._lock.release()
            with contextlib.suppress(OSError):  # Something is in it, or somebody else is quicker.
                self._folder.rmdir()
