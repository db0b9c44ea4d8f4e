"""Fetch files from mirrors into a cache folder that only ever holds verified content."""

from __future__ import annotations

import importlib.util
import queue
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fusedlstm.datasets.idx import read_idx
from fusedlstm.io.atomic import write_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# All mirrors together have this long to answer a first request, so a machine without a network, or behind
# a firewall that swallows packets, learns it in a few seconds.
ANSWER_SECONDS = 4.0
CONNECT_SECONDS = 3.0
# A mirror that sends nothing for this long is given up.
READ_SECONDS = 10.0
THREAD_NAME = "fusedlstm-mirror"


class IDXFile(NamedTuple):
    """One file of a data set: its name without ``.gz``, its dimensions and its decompressed content."""

    name: str
    ndim: int
    sha256: str


def fetch(files: Sequence[IDXFile], folder: Path, mirrors: Sequence[str]) -> list[str]:
    """Download files into a folder, trying the mirrors in turn.

    A file enters the folder by an atomic rename after its decompressed content has been checked; what a
    mirror got wrong is discarded, and the files still missing come from the next mirror.

    Parameters
    ----------
    files
        What to download.
    folder
        Where to; made when it does not exist.
    mirrors
        Addresses to which ``<name>.gz`` is added, best first.

    Returns
    -------
    failures
        One line for each mirror that failed. It is for the caller to see which files are there now.

    Raises
    ------
    ImportError
        When pooch is not installed.
    OSError
        When the folder cannot be made or written.
    """
    import pooch

    folder.mkdir(parents=True, exist_ok=True)
    failures: list[str] = []
    missing = list(files)
    # Not in the folder, where a process that is killed would leave it for ever.
    with tempfile.TemporaryDirectory(prefix="fusedlstm-download-") as temporary:
        for mirror in _answering(pooch, mirrors, f"{files[0].name}.gz", failures):
            try:
                while missing:
                    _fetch_one(pooch, mirror, missing[0], Path(temporary), folder)
                    del missing[0]
            except (OSError, ValueError) as error:  # requests' exceptions are OSErrors
                failures.append(f"{mirror}: {_brief(error)}")
            if not missing:
                break
    return failures


def _fetch_one(pooch: Any, mirror: str, file: IDXFile, temporary: Path, folder: Path) -> None:
    url = f"{mirror}{file.name}.gz"
    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    if on_terminal:
        print(f"Downloading {url}", file=sys.stderr)
    download = pooch.HTTPDownloader(
        progressbar=on_terminal and importlib.util.find_spec("tqdm") is not None,
        chunk_size=1 << 16,
        timeout=(CONNECT_SECONDS, READ_SECONDS),
    )
    received = temporary / f"{file.name}.gz"
    download(url, str(received), None)
    with received.open("rb") as stream:
        is_gzip = stream.read(2) == b"\x1f\x8b"
    if not is_gzip:
        # A server that declares its gzip files as "Content-Encoding: gzip" has them decompressed on the
        # way. The content is what counts, and the check below decides.
        received = received.rename(temporary / file.name)
    read_idx(received, ndim=file.ndim, sha256=file.sha256, shown_as=url)
    write_file(folder / received.name, [received.read_bytes()])


def _brief(error: Exception) -> str:
    """Return what went wrong without the layers of connection pools and retries around it."""
    cause = error.args[0] if error.args else None
    cause = getattr(cause, "reason", None) or error
    return str(cause).split("): ", 1)[-1] or repr(error)


def _answering(pooch: Any, mirrors: Sequence[str], name: str, failures: list[str]) -> Iterator[str]:
    """Yield the mirrors that answer, in their order, and note why the others did not.

    They are all asked at once for the headers of one file. The threads are daemons because a name server
    that does not answer holds them up for longer than the program may want to live.
    """
    head = pooch.HTTPDownloader(timeout=(CONNECT_SECONDS, CONNECT_SECONDS))
    answers: dict[str, queue.Queue[str | None]] = {mirror: queue.Queue() for mirror in mirrors}

    def ask(mirror: str) -> None:
        try:
            head(mirror + name, None, None, check_only=True)
        except Exception as error:  # whatever went wrong, the thread that waits must hear of it
            answers[mirror].put(_brief(error))
        else:
            answers[mirror].put(None)  # any HTTP status is an answer: some servers refuse HEAD

    deadline = time.monotonic() + ANSWER_SECONDS
    for mirror in mirrors:
        threading.Thread(target=ask, args=(mirror,), name=THREAD_NAME, daemon=True).start()
    for mirror in mirrors:
        try:
            failure = answers[mirror].get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            failure = f"no answer within {ANSWER_SECONDS:g} seconds"
        if failure is None:
            yield mirror
        else:
            failures.append(f"{mirror}: {failure}")
