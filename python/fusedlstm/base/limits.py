"""Limits on what a file may ask for.

A loader reads a file within two allowances of memory. One is for numbers: what the content takes once it is
unpacked, with the arrays and the weights made of it. By default that is `FREE` bytes and `FACTOR` times the
file's own size. A file whose numbers lie in it as they are takes about four times its size and never comes
near, however large it is, and a small one cannot ask for more memory than anybody would notice.

The other is for what describes numbers: layers, names, texts, nodes of a graph, members of an archive. By
default that is `DESCRIPTION` bytes whatever the file's size: a large model has larger layers, not a million
of them, and an object takes much more time than its bytes in the file do. A stack of 1,400 LSTM layers with
Adam, of 1,200 with an optimizer of three slots, or of 600 bidirectional ones, is within it in every format.
Beside both, reading a file takes time and memory in proportion to the file's own size: a few copies of it.

``max_bytes`` of a loader is one allowance in place of both. There is none for all loaders together: a file
that needs it is one that somebody has looked at.

Each size is claimed before memory is taken for it, so that a file which announces more is refused at no cost.
Code that also runs without a file, as the making of layers does, claims too: outside of `reading` that does
nothing. Levels inside of each other and axes have limits of their own where they are read, which recursion
and NumPy set, and which no option raises.
"""

from __future__ import annotations

import errno
import stat
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from fusedlstm.base import checks
from fusedlstm.base.held import Setting

if TYPE_CHECKING:
    import os

FREE = 32 << 20
FACTOR = 16
DESCRIPTION = 64 << 20
# An object for an item of a description, such as a layer, rounded up for the time that making it takes.
OBJECT = 8192


class _Part:
    """Bytes that may be taken for one kind of thing."""

    def __init__(self, kind: str, limit: int) -> None:
        self.kind = kind
        self.limit = limit
        self.left = limit

    def take(self, count: int, what: str) -> None:
        if count > self.left:
            raise ValueError(
                f"{what}: expected {self.kind} that takes at most {self.limit:,} bytes of memory, "
                f"got one that takes at least {self.limit - self.left + count:,}; max_bytes raises the limit"
            )
        self.left -= count


class _Allowance:
    def __init__(self, size: int, max_bytes: int | None) -> None:
        self.fixed = max_bytes is not None
        limit = FREE + FACTOR * size if max_bytes is None else checks.positive_int(max_bytes, "max_bytes")
        self.content = _Part("content", limit)
        self.description = self.content if self.fixed else _Part("a description", DESCRIPTION)


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
    return Setting(_current.set, _current.reset, _Allowance(size, max_bytes))


def grant(size: int) -> None:
    """Add another file's size to that of the file which is being read, and which it is a part of."""
    allowance = _current.get()
    if allowance is not None and not allowance.fixed:
        allowance.content.limit += FACTOR * size
        allowance.content.left += FACTOR * size


def claim(count: int, what: str) -> None:
    """Take bytes for numbers from the allowance of the file that is being read, if one is.

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
    if allowance is not None:
        allowance.content.take(count, what)


def claim_description(count: int, what: str) -> None:
    """Take bytes for objects, names and texts; parameters and exceptions as for `claim`."""
    allowance = _current.get()
    if allowance is not None:
        allowance.description.take(count, what)


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
    return Setting(_current.set, _current.reset, _Allowance(len(data), max_bytes), data)


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Return a file's content; exceptions as for `content`."""
    size = size_of(path)
    try:
        return Path(path).read_bytes()
    except MemoryError as error:  # a file of holes may have any size
        raise OSError(errno.ENOMEM, f"no memory for a file of {size:,} bytes", str(path)) from error


def size_of(path: str | os.PathLike[str]) -> int:
    """Return a file's size; exceptions as for `content`."""
    status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise ValueError(f"{path}: expected a file, found a pipe or a device")
    return status.st_size  # reading a folder tells best what is wrong with one
