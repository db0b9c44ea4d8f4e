"""`io.locks`: one at a time in a folder."""

from __future__ import annotations

import os
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
    lock = FolderLock(tmp_path, "folder")
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        # It lives on while the lock is given back.
        os.write(ready[1], b"x")
        os.read(done[0], 1)
        os._exit(0)
    try:
        os.read(ready[0], 1)
        with pytest.raises(BlockingIOError):
            FolderLock(tmp_path, "folder")
        os.close(lock._descriptor)  # type: ignore[arg-type]  # as the end of a process does
        lock._descriptor = None
        FolderLock(tmp_path, "folder").release()
    finally:
        os.write(done[1], b"x")
        os.waitpid(child, 0)
        for descriptor in (*ready, *done):
            os.close(descriptor)
