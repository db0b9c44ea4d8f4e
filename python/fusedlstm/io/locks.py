"""`FolderLock`: one process, and one run in it, at a time in a folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# A child that was forked from a process with locks holds them as well, until it closes its copies.
_held: weakref.WeakSet[FolderLock] = weakref.WeakSet()


class FolderLock:
    """A lock on a folder, as a locked file in it: it goes with the process, however that ends.

    The file itself stays where a process was killed, and says nothing; the next one takes it over.

    Parameters
    ----------
    folder : Path
        A folder that exists.
    argument : str
        What names the folder, for messages.

    Raises
    ------
    OSError
        If something else has the lock, with the number EAGAIN and its process in the message, or the file
        cannot be made. On a file system without locks every caller gets one.
    """

    def __init__(self, folder: Path, argument: str) -> None:
        self._path = folder / ".lock"
        self._descriptor: int | None = None
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                if self._taken(descriptor, argument):
                    self._descriptor, descriptor = descriptor, -1
                    _held.add(self)
                    return
            finally:
                if descriptor >= 0:
                    os.close(descriptor)

    def _taken(self, descriptor: int, argument: str) -> bool:
        """Lock the file; return False if it is not the folder's any more."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            raise BlockingIOError(
                errno.EAGAIN,
                f"{argument}: expected a folder that no other training uses, found one of process {owner}",
                str(self._path.parent),
            ) from error
        except OSError:
            pass  # There are no locks on this file system.
        try:
            if not os.path.samestat(os.fstat(descriptor), self._path.lstat()):
                return False
        except FileNotFoundError:
            return False
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        return True

    def release(self) -> None:
        """Remove the file, and with it the lock; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            # Removed while it is locked: who waits for it finds that it is not the folder's any more.
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(descriptor)

    def drop(self) -> None:
        """Close this process's copy of another one's lock."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _drop_all() -> None:
    for lock in tuple(_held):
        lock.drop()


os.register_at_fork(after_in_child=_drop_all)
