"""Limits on what a file may ask for.

A loader reads a file within an allowance of memory: what the content takes once it is unpacked, the arrays
and the layers made of it included. By default that is `FREE` bytes and `FACTOR` times the file's own size. A
file whose numbers lie in it as they are takes about four times its size and never comes near, however large
it is, and a small one cannot ask for more memory than anybody would notice. ``max_bytes`` of a loader is
another allowance. There is none for all loaders together: a file that needs it is one that somebody has
looked at.

Each size is claimed before memory is taken for it, so that a file which announces more is refused at no cost.
Code that also runs without a file, as the making of layers does, claims too: outside of `reading` that does
nothing.
"""

from __future__ import annotations

import stat
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from fusedlstm import checks
from fusedlstm.held import Setting

if TYPE_CHECKING:
    import os

__all__ = ["FACTOR", "FREE", "OBJECT", "claim", "content", "grant", "read_bytes", "reading", "size_of"]

FREE = 32 << 20
FACTOR = 16
# An object for an item of a description, such as a layer. Rounded up, as many of them take time too.
OBJECT = 8192


class _Allowance:
    def __init__(self, limit: int, fixed: bool) -> None:
        self.limit = limit
        self.left = limit
        self.fixed = fixed


_current: ContextVar[_Allowance | None] = ContextVar("allowance", default=None)


def reading(size: int, max_bytes: int | None = None) -> Setting[None]:
    """Give what is claimed inside an allowance.

    Parameters
    ----------
    size : int
        Of the file, or of all files that make it up.
    max_bytes : int, optional
        The allowance; by default it follows from the size.

    Raises
    ------
    TypeError, ValueError
        If `max_bytes` is not a positive integer.
    """
    return Setting(_current.set, _current.reset, _allowance(size, max_bytes))


def _allowance(size: int, max_bytes: int | None) -> _Allowance:
    limit = FREE + FACTOR * size if max_bytes is None else checks.positive_int(max_bytes, "max_bytes")
    return _Allowance(limit, max_bytes is not None)


def grant(size: int) -> None:
    """Add another file's size to that of the file which is being read, and which it is a part of."""
    allowance = _current.get()
    if allowance is not None and not allowance.fixed:
        allowance.limit += FACTOR * size
        allowance.left += FACTOR * size


def claim(count: int, what: str) -> None:
    """Take bytes from the allowance of the file that is being read, if one is.

    Parameters
    ----------
    count : int
        Bytes that are about to be taken.
    what : str
        What for, to begin the message with.

    Raises
    ------
    ValueError
        If so many are not left.
    """
    allowance = _current.get()
    if allowance is None:
        return
    if count > allowance.left:
        raise ValueError(
            f"{what}: expected content that takes at most {allowance.limit:,} bytes of memory, "
            f"got one that takes {allowance.limit - allowance.left + count:,}; max_bytes raises the limit"
        )
    allowance.left -= count


def content(path: str | os.PathLike[str], max_bytes: int | None = None) -> Setting[bytes]:
    """Give a file's content, and what is claimed inside its allowance; parameters as for `reading`.

    Raises
    ------
    OSError
        When the file is not there or cannot be read.
    TypeError, ValueError
        As for `reading`, or when it is a pipe or a device, which may have no end.
    """
    data = read_bytes(path)
    return Setting(_current.set, _current.reset, _allowance(len(data), max_bytes), data)


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Return a file's content; exceptions as for `content`."""
    size_of(path)
    return Path(path).read_bytes()


def size_of(path: str | os.PathLike[str]) -> int:
    """Return a file's size; exceptions as for `content`."""
    status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise ValueError(f"{path}: expected a file, found a pipe or a device")
    return status.st_size  # reading a folder tells best what is wrong with one
