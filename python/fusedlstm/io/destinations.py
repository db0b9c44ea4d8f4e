"""Whether files can be written: found out before the work whose results go there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["check_destination", "try_saving"]


def check_destination(path: str | os.PathLike[str], argument: str, *, makes_folder: bool = False) -> Path:
    """Check that a file can be written, without writing it.

    Parameters
    ----------
    path : path-like
        The file; one that exists is left as it is.
    argument : str
        The argument's name, for the message.
    makes_folder : bool
        Whether the writer makes folders that are missing.

    Returns
    -------
    Path
        The folder that the file will be in, or the nearest one above it that exists.

    Raises
    ------
    OSError
        When it cannot be written; the message begins with the argument's name and gives the reason.
    """
    target = Path(os.path.realpath(path))
    folder = target.parent
    try:
        while makes_folder and not folder.exists() and folder != folder.parent:
            folder = folder.parent
        if target.is_dir():
            raise IsADirectoryError(f"{argument}: expected a file, got the folder {target}")
        if target.exists() and not os.access(target, os.W_OK):
            raise PermissionError(f"{argument}: {target} is there and cannot be written")
        if target.exists() and not target.is_file():
            return folder  # a pipe or a terminal, beside which nothing is put
    except OSError as error:
        if error.errno is None:
            raise
        raise type(error)(f"{argument}: cannot write {target}: {error.strerror}") from error
    try:
        # Only that tells for sure, on every system.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise type(error)(f"{argument}: cannot write into {folder}: {error.strerror}") from error
    return folder


def try_saving(save: Callable[[Path], object], path: str | os.PathLike[str], argument: str) -> None:
    """Save something once and throw it away, to find all that could go wrong before work is lost by it.

    Parameters
    ----------
    save : callable
        Writes the file that it is given the path of.
    path : path-like
        The file that will be written later; folders that are missing are made then, not now.
    argument : str
        The argument's name, for messages.

    Raises
    ------
    OSError
        When the file cannot be written.
    Exception
        Whatever `save` raises.
    """
    folder = check_destination(path, argument, makes_folder=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fusedlstm-") as scratch:
        save(Path(scratch) / Path(path).name)
