"""Files that are either complete or not there."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["write_file"]


def write_file(path: str | os.PathLike[str], parts: Iterable[bytes | memoryview]) -> None:
    """Write a file under another name first, so that one that exists is replaced in one step.

    Parameters
    ----------
    path
        The file. A link is followed, so that its target is replaced and not the link.
    parts
        Its content, in order.

    Raises
    ------
    OSError
        When the file cannot be written; it is as before then.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            file.writelines(parts)
            file.flush()
            # Without this, a power cut could leave the new name on an empty file.
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
