"""Whether files can be written: found out before the work whose results go there."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from fusedlstm.base import checks
from fusedlstm.io.atomic import check_folder, examined, followed, open_directly, temporary_path

if TYPE_CHECKING:
    from collections.abc import Callable


def make_folder(path: str | os.PathLike[str]) -> None:
    """Make the folders that a file needs: those where it will be once links are followed."""
    followed(path).parent.mkdir(parents=True, exist_ok=True)


class Destinations(ExitStack):
    """The files that an argument names, checked before they are written.

    A pipe is opened by its check, which is how it shows whether somebody reads from it. It stays open until
    this is closed, as the reader would take a pipe that is closed for the end of the content. So this is
    closed after the first write, or when there will be none.

    Parameters
    ----------
    argument : str
        The argument's name, for messages.
    makes_folders : bool
        Whether the writer makes folders that are missing, by `make_folder`.
    """

    def __init__(self, argument: str, *, makes_folders: bool = False) -> None:
        super().__init__()
        self._argument = argument
        self._makes_folders = makes_folders
        self._good: set[Path] = set()

    def check(self, path: str | os.PathLike[str]) -> Path:
        """Check that a file can be written, without writing it; one that exists is left as it is.

        Returns
        -------
        Path
            The folder that the file will be in, or the nearest one above it that exists.

        Raises
        ------
        OSError
            When it cannot be written; the message begins with the argument's name and gives the reason.
        TypeError, ValueError
            When it is no path of text.
        """
        given = checks.path(path, self._argument)
        try:
            return self._check(followed(given))
        except OSError as error:
            where = given if error.filename is None else error.filename
            raise type(error)(
                f"{self._argument}: cannot write {given}: {error.strerror} ({where})"
            ) from error

    def try_saving(self, save: Callable[[Path], object], path: str | os.PathLike[str]) -> None:
        """Save something once and throw it away, to find all that could go wrong before work is lost by it.

        Parameters
        ----------
        save : callable
            Writes the file that it is given the path of, by `fusedlstm.io.atomic`.
        path : path-like
            The file that will be written later; folders that are missing are made then, not now.

        Raises
        ------
        OSError
            When the file cannot be written.
        Exception
            Whatever `save` raises.
        """
        folder = self.check(path)
        with tempfile.TemporaryDirectory(prefix="fusedlstm-") as links:
            if _is_direct(followed(path)):
                folder = Path(links)  # Nothing will be made beside a pipe or a device.
            # The content goes to the folder where it will be, as there may be less room elsewhere, but under
            # a name that the next write removes if this process is killed. The link has the name with the
            # ending.
            content = temporary_path(folder)
            link = Path(links) / Path(path).name
            link.symlink_to(content)
            try:
                save(link)
            finally:
                content.unlink(missing_ok=True)

    def _check(self, target: Path) -> Path:
        folder = target.parent
        # A link that is still there after all were followed leads in a circle: no folder can be made there.
        while self._makes_folders and not os.path.lexists(folder) and folder != folder.parent:
            folder = folder.parent
        if folder == target.parent:
            found = examined(target)
            if found.direct:
                if found.found is not None and stat.S_ISFIFO(found.found.st_mode):
                    self.enter_context(open_directly(target))
                return folder
        if folder not in self._good:
            check_folder(folder)
            self._good.add(folder)
        _check_lengths(folder, target)
        return folder


def _is_direct(target: Path) -> bool:
    try:
        return examined(target).direct
    except FileNotFoundError:
        return False


def _check_lengths(folder: Path, target: Path) -> None:
    """Raise OSError when names below a folder are longer than they may be; no other call looks at them."""
    longest = os.pathconf(folder, "PC_NAME_MAX")
    names = [os.fsencode(name) for name in target.relative_to(folder).parts]
    beside = temporary_path(target.parent)
    whole = max(len(os.fsencode(path)) for path in (target, beside))
    if max(map(len, names)) > longest or whole >= os.pathconf(folder, "PC_PATH_MAX"):
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(target))
