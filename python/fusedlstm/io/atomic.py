"""Files that are either complete or as they were before: how everything in this package writes.

The content goes into a temporary file in the same folder, which then takes the target's name in one step.

- A target that exists keeps its mode, its extended attributes and, where the process may set them, owner and
  group. A new file gets the mode that the umask leaves.
- Symbolic links are followed: the file that they lead to is replaced. A hard link is not: the other names of
  the file keep the old content.
- Pipes, character devices and the process's own open files (``/dev/stdout``) are written to directly.
  Folders, sockets and block devices are refused.
- A process that is killed leaves its temporary file; the next write into the folder removes it. The file is
  locked as long as its process lives, on whatever machine of a shared file system that is.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fusedlstm.base import checks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

# No other program makes such names. They are short, so that a target may have the longest name there is.
_TEMPORARY = re.compile(r"\.fusedlstm-[0-9a-f]{32}\.part")
# Where Linux shows the files that a process has open, as links that lead to no name.
_OPEN_FILES = re.compile(r"/proc/\d+(?:/task/\d+)?/fd")
_MOST_LINKS = 40  # in a chain, as on Linux


class Target(NamedTuple):
    """Where a path leads."""

    path: Path
    found: os.stat_result | None  # None for a file that is yet to be made
    direct: bool  # whether it is written to as it is, and not replaced


def check_target(path: str | os.PathLike[str]) -> None:
    """Raise what `write_file` would raise because of the path, before the work for the content is done.

    Parameters
    ----------
    path
        The file, which is left as it is.

    Raises
    ------
    OSError
        When the folder is not there, folder or file cannot be written, or the path is a folder, a socket or a
        block device.
    """
    target = examined(followed(path))
    if not target.direct:
        check_folder(target.path.parent)


def check_folder(folder: Path) -> None:
    """Raise OSError when no files can be made in a folder, which is left as it is."""
    try:
        # Only this tells for sure, on every file system.
        with _temporary_file(folder, 0o600):
            pass
    except OSError as error:
        raise _error(error.errno, "expected a folder where files can be made", folder) from error


def write_file(path: str | os.PathLike[str], parts: Iterable[bytes | memoryview]) -> None:
    """Write a file under another name first, so that one that exists is replaced in one step.

    Parameters
    ----------
    path
        The file; this module says what becomes of links, special files, modes and owners.
    parts
        Its content, in order.

    Raises
    ------
    OSError
        When the file cannot be written; it is as before then.
    """
    target, found, direct = examined(followed(path))
    if direct:
        with open_directly(target) as descriptor, os.fdopen(descriptor, "wb", closefd=False) as stream:
            stream.writelines(parts)
        return
    _remove_left_over(target.parent)
    with _temporary_file(target.parent, 0o666 if found is None else 0o600) as (descriptor, temporary):
        if found is not None:
            _keep_attributes(target, found, temporary)
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.writelines(parts)
        # Without this, a power cut could leave the new name on an empty file.
        os.fsync(descriptor)
        # Closed, and so unlocked, only when the file has its final name.
        os.replace(temporary, target)  # noqa: PTH105
    _sync_folder(target.parent)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text in UTF-8; see `write_file`."""
    write_file(path, [text.encode()])


def _error(number: int | None, reason: str, path: Path) -> OSError:
    """Return the subclass of OSError that belongs to an error number."""
    number = errno.EIO if number is None else number
    return OSError(number, f"{os.strerror(number)}: {reason}", str(path))


@contextmanager
def _opened(function: Callable[..., int], *arguments: object) -> Iterator[int]:
    """Give the descriptor that a function of `os` returns, and close it at the end.

    Ctrl-C raises between two steps of the interpreter. The function is called from C, so that there is none
    between it and the place from where the descriptor is closed.
    """
    descriptors: list[int] = []
    try:
        descriptors.extend(map(function, *([argument] for argument in arguments)))
        yield descriptors[0]
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def followed(path: str | os.PathLike[str]) -> Path:
    """Return the path to which links lead; those to a process's open files are not followed.

    Nothing needs to be there: where folders are missing, they are the ones to be made.

    Raises
    ------
    OSError
        When links lead in a circle.
    TypeError, ValueError
        When it is no path of text.
    """
    current = checks.path(path, "path")
    for _ in range(_MOST_LINKS):
        current = Path(os.path.realpath(current.parent)) / current.name
        if _OPEN_FILES.fullmatch(str(current.parent)) or not current.is_symlink():
            return current
        current = current.parent / os.readlink(current)  # noqa: PTH115
    raise _error(errno.ELOOP, "expected a file, found links that lead in a circle", Path(path))


def examined(path: Path) -> Target:
    """Look at what is where `followed` leads, and raise OSError where it is refused."""
    number = _own_descriptor(path)
    if number is not None:
        if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise _error(errno.EACCES, "expected a file that is open for writing", path)
        # A regular file as well: its name must stay on what this process has open.
        return Target(path, os.fstat(number), True)
    folder = path.parent.stat()  # The error names the folder if it is not there.
    try:
        found = path.stat()
    except FileNotFoundError:
        return Target(path, None, False)
    for test, kind in ((stat.S_ISDIR, "folder"), (stat.S_ISSOCK, "socket"), (stat.S_ISBLK, "block device")):
        if test(found.st_mode):
            code = errno.EISDIR if kind == "folder" else errno.EINVAL
            raise _error(code, f"expected a file, a pipe or a character device, found a {kind}", path)
    if not os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise _error(errno.EACCES, "expected a file that can be written", path)
    if not stat.S_ISREG(found.st_mode):
        return Target(path, found, True)
    if folder.st_mode & stat.S_ISVTX and os.geteuid() not in (0, folder.st_uid, found.st_uid):
        raise _error(errno.EPERM, "expected a file of this user, as others' stay in such a folder", path)
    return Target(path, found, False)


def _own_descriptor(target: Path) -> int | None:
    """Return the number of the open file of this process that a path stands for."""
    if str(target.parent) != os.path.realpath("/proc/self/fd") or not target.name.isdecimal():
        return None
    return int(target.name)


@contextmanager
def open_directly(target: Path) -> Iterator[int]:
    """Open what is written to as it is and not replaced, and give its descriptor.

    Raises
    ------
    OSError
        When it cannot be opened, as a pipe that nobody reads from.
    """
    number = _own_descriptor(target)
    if number is not None:
        # What was printed so far comes first. A copy of the descriptor goes on at the same place of the file.
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        opened = _opened(os.dup, number)
    else:
        # Without O_NONBLOCK, a pipe that nobody reads from would be waited for without end.
        opened = _opened(os.open, target, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC)
    with contextlib.ExitStack() as stack:
        try:
            descriptor = stack.enter_context(opened)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            raise _error(errno.ENXIO, "expected a pipe that somebody reads from", target) from error
        if number is None:
            os.set_blocking(descriptor, True)
        yield descriptor


def temporary_path(folder: Path) -> Path:
    """Return a new path in a folder; a file there that no process has locked goes with the next write."""
    return folder / f".fusedlstm-{secrets.token_hex(16)}.part"


@contextmanager
def _temporary_file(folder: Path, mode: int) -> Iterator[tuple[int, str]]:
    """Make a file that is locked for this process; give its descriptor and name, and remove the name."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    while True:
        path = str(temporary_path(folder))
        with _opened(os.open, path, flags, mode) as descriptor:
            try:
                # Another process may have found it before it was locked, and be about to remove it.
                if _locked(descriptor) and _is_at(descriptor, path):
                    yield descriptor, path
                    return
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)  # noqa: PTH108


def _locked(descriptor: int) -> bool:
    """Lock a new file, or return False if another process has; without locks none removes such files."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _is_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _remove_left_over(folder: Path) -> None:
    """Remove temporary files of processes that are not there any more."""
    # A folder that cannot be listed can be written to all the same.
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _TEMPORARY.fullmatch(entry.name):
                _remove_if_unlocked(entry.path)


def _remove_if_unlocked(path: str) -> None:
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    # An error means that the file is locked, is gone, or belongs to somebody else.
    with contextlib.suppress(OSError), _opened(os.open, path, flags) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and _is_at(descriptor, path):
            os.unlink(path)  # noqa: PTH108


def _keep_attributes(target: Path, found: os.stat_result, temporary: str) -> None:
    """Give the new file, still empty, what may be kept of the old one."""
    shutil.copystat(target, temporary)
    mode = stat.S_IMODE(found.st_mode)
    try:
        os.chown(temporary, found.st_uid, found.st_gid)
    except PermissionError:
        mode &= 0o777
        try:
            os.chown(temporary, -1, found.st_gid)
        except PermissionError:
            # The members of another group get no more than everybody else.
            mode &= 0o707 | (mode & 0o007) << 3
    os.chmod(temporary, mode)  # noqa: PTH101


def _sync_folder(folder: Path) -> None:
    """Make the new name survive a power cut."""
    try:
        with _opened(os.open, folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) as descriptor:
            os.fsync(descriptor)
    except PermissionError:
        pass  # The folder can be written to, but not be read.
    except OSError as error:
        # Some file systems cannot sync folders.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
