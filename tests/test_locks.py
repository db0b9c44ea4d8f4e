"""`io.locks`: one at a time in a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from fusedlstm.io.locks import FolderLock

if TYPE_CHECKING:
    from pathlib import Path


def test_one_at_a_time(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path, "folder")
    with pytest.raises(
        BlockingIOError, match=rf"folder: expected .*, found one of process {os.getpid()}: .*{tmp_path}"
    ):
        FolderLock(tmp_path, "folder")
    lock.release()
    lock.release()
    assert [*tmp_path.iterdir()] == []
    FolderLock(tmp_path, "folder").release()


def test_a_file_that_was_left_says_nothing(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("12345678")
    lock = FolderLock(tmp_path, "folder")
    assert (tmp_path / ".lock").read_text() == str(os.getpid())
    lock.release()


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FolderLock(tmp_path / "none", "folder")


def test_a_forked_child_does_not_hold_it(tmp_path: Path) -> None:
    """In a process of its own: libraries that other tests load warn of forks."""
    code = """
import os, sys
from pathlib import Path
from fusedlstm.io.locks import FolderLock

folder = Path(sys.argv[1])
lock = FolderLock(folder, "folder")
ready, done = os.pipe(), os.pipe()
if not os.fork():
    # The child lives on while the lock is given back.
    os.write(ready[1], b"x")
    os.read(done[0], 1)
    os._exit(0)
os.read(ready[0], 1)
try:
    FolderLock(folder, "folder")
except BlockingIOError:
    print("held")
os.close(lock._descriptor)  # as the end of a process does
lock._descriptor = None
FolderLock(folder, "folder").release()
print("free")
os.write(done[1], b"x")
os.wait()
"""
    ran = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["held", "free"]
