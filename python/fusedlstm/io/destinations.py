"""Whether files can be written: found out before the work whose results go there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fusedlstm.io.atomic import check_folder, check_target, temporary_path

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
        if folder == target.parent:
            check_target(path)
        else:
            check_folder(folder)
    except OSError as error:
        raise type(error)(f"{argument}: cannot write {path}: {error.strerror} ({error.filename})") from error
    return folder


def try_saving(save: Callable[[Path], object], path: str | os.PathLike[str], argument: str) -> None:
    """Save something once and throw it away, to find all that could go wrong before work is lost by it.

    Parameters
    ----------
    save : callable
        Writes the file that it is given the path of, by `fusedlstm.io.atomic`.
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
    # The content goes to the folder where it will be, as there may be less room elsewhere, but under a name
    # that the next write removes if this process is killed. The link has the name with the ending.
    content = temporary_path(folder)
    with tempfile.TemporaryDirectory(prefix="fusedlstm-") as links:
        link = Path(links) / Path(path).name
        link.symlink_to(content)
        try:
            save(link)
        finally:
            content.unlink(missing_ok=True)
