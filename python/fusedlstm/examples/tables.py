"""CSV files of a user's, read row by row: what is wrong with one is a sentence with its file and line."""

from __future__ import annotations

import csv
import gzip
import lzma
import zlib
from typing import IO, TYPE_CHECKING, cast

from fusedlstm.examples.job import ProblemError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_OPENERS = {".gz": gzip.open, ".xz": lzma.open}


def rows(path: Path, errors: str = "strict") -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV file, its header too, with the numbers of their lines.

    Parameters
    ----------
    path : Path
        Text in UTF-8, as it is, or packed if it ends in ``.gz`` or ``.xz``. Fields are separated by what its
        first line has most of: commas, semicolons or tabs.
    errors : str
        What to do with bytes that are no UTF-8, as for `open`.

    Yields
    ------
    line : int
        From 1 on.
    fields : list of str
        Without spaces around them, as many in each row as in the first; empty lines are left out.

    Raises
    ------
    ProblemError
        When the file is a folder, damaged, empty or no text, or a row has another number of fields.
    """
    if path.is_dir():
        raise ProblemError(f"{path}: expected a file, got a folder")
    opener = cast("Callable[..., IO[str]]", _OPENERS.get(path.suffix, open))
    width = 0
    try:
        with opener(path, "rt", encoding="utf-8-sig", errors=errors, newline="") as file:
            first = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=max(",;\t", key=first.count))
            for fields in reader:
                if not fields:
                    continue
                if width and len(fields) != width:
                    raise ProblemError(
                        f"{path}, line {reader.line_num}: expected {width} fields as in the first line, "
                        f"got {len(fields)}"
                    )
                width = len(fields)
                yield reader.line_num, [field.strip() for field in fields]
    except UnicodeDecodeError as error:
        line, byte = _first_that_is_no_text(path)
        raise ProblemError(
            f"{path}, line {line}: expected text in UTF-8, got the byte {byte:#04x}"
        ) from error
    except csv.Error as error:
        raise ProblemError(f"{path}, line {reader.line_num}: {error}") from error
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
        raise ProblemError(f"{path}: damaged: {error}") from error
    if not width:
        raise ProblemError(f"{path}: expected a header and rows, got an empty file")


def _first_that_is_no_text(path: Path) -> tuple[int, int]:
    """Return the line of the first byte that is no UTF-8, and that byte."""
    with cast("Callable[..., IO[bytes]]", _OPENERS.get(path.suffix, open))(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8-sig")
            except UnicodeDecodeError as error:
                return number, line[error.start]
    raise AssertionError("a file that could not be read is text now")


def column(path: Path, header: list[str], name: str) -> int:
    """Return where a column is, by its name in any case.

    Raises
    ------
    ProblemError
        When there is none of that name.
    """
    lower = [field.lower() for field in header]
    if name.lower() not in lower:
        shown = ", ".join(header[:12]) + (", ..." if len(header) > 12 else "")
        raise ProblemError(f"{path}: expected a column {name!r}, got {shown}")
    return lower.index(name.lower())
