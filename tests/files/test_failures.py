"""Writers that are killed, interrupted or refused, and those of one file at once."""

from __future__ import annotations

import gc
import os
import signal
import stat
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fusedlstm import callbacks
from fusedlstm.io.atomic import write_file, write_text

from .common import WRITERS, endings, mode, model, run

if TYPE_CHECKING:
    from collections.abc import Iterator


# ---- processes that die, and others that do not ----

KILLED = """
def parts():
    yield b"half"
    {during}
write_file(sys.argv[1], parts())
"""


@endings
def test_left_over_parts_are_removed_by_the_next_save(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    path.write_bytes(b"old")
    result = run(KILLED.format(during="os.kill(os.getpid(), signal.SIGKILL)"), path)
    assert result.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    (left,) = set(tmp_path.iterdir()) - {path}
    mine = [
        tmp_path / name
        for name in (".fusedlstm-notes.part", f"{left.name}.bak", f"x{left.name}", f".a{ending}.{'0' * 16}")
    ]
    for file in mine:
        file.write_text("mine")
    (tmp_path / f".fusedlstm-{'0' * 32}.part").mkdir()
    WRITERS[ending](tmp_path / f"b{ending}")
    assert not left.exists()
    assert all(file.read_text() == "mine" for file in mine)
    assert len(list(tmp_path.iterdir())) == len(mine) + 3


def test_parts_of_living_writers_stay(tmp_path: Path) -> None:
    seen: list[set[str]] = []

    def parts() -> Iterator[bytes]:
        yield b"slow"
        write_text(tmp_path / "quick", "quick")
        seen.append({path.name for path in tmp_path.iterdir()})

    write_file(tmp_path / "slow", parts())
    assert len(seen[0]) == 2
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"slow": "slow", "quick": "quick"}


def test_many_writers_of_one_file(tmp_path: Path) -> None:
    """Each write is complete, and none of them removes what another one is about to rename."""
    path = tmp_path / "a"
    errors: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for _ in range(20):
                write_text(path, str(number) * 1000)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert path.read_text() in {str(number) * 1000 for number in range(4)}
    assert list(tmp_path.iterdir()) == [path]


def test_failure_of_the_content_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")

    def parts() -> Iterator[bytes]:
        yield b"half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_file(path, parts())
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_file_and_folder_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    write_text(tmp_path / "a", "new")
    assert synced == [False, True]


@endings
@pytest.mark.parametrize("length", [200, 236, 237, 238, 254, 255])
def test_long_names(tmp_path: Path, ending: str, length: int) -> None:
    path = tmp_path / ("é" * 3 + "a" * (length - len(ending) - 6) + ending)
    assert len(os.fsencode(path.name)) == length
    WRITERS[ending](path)
    WRITERS[ending](path)
    assert list(tmp_path.iterdir()) == [path]


class Interrupter:
    """Raises KeyboardInterrupt after one of the steps between which Python looks for signals."""

    def __init__(self, step: int) -> None:
        self.left = step

    def __call__(self, _frame: object, event: str, _argument: object) -> None:
        if event in ("call", "c_return"):
            self.left -= 1
            if self.left == 0:
                sys.setprofile(None)
                raise KeyboardInterrupt


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="does not show the open files")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # closed late, but closed
@pytest.mark.parametrize("kind", ["new", "old", "device", "left over"])
def test_ctrl_c_leaves_no_file_open(tmp_path: Path, kind: str) -> None:
    """At whatever step it comes, and the target is either as before or complete."""
    path = Path("/dev/null") if kind == "device" else tmp_path / "a"
    content = b"old"
    steps = 0
    done = False
    while not done:
        steps += 1
        if kind == "old":
            path.write_bytes(content)
        elif kind == "left over":
            (tmp_path / f".fusedlstm-{'0' * 32}.part").touch()
        before = set(Path("/proc/self/fd").iterdir())
        sys.setprofile(Interrupter(steps))
        try:
            write_file(path, [b"new"])
            done = True
        except KeyboardInterrupt:
            pass
        finally:
            sys.setprofile(None)
        gc.collect(0)
        assert set(Path("/proc/self/fd").iterdir()) == before, steps
        if kind == "old":
            assert path.read_bytes() in (b"old", b"new")
    assert steps > 20
    write_file(path, [b"new"])
    assert kind == "device" or list(tmp_path.iterdir()) == [path]


# ---- what cannot be written ----

REFUSED = """
if os.geteuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
def parts():
    raise AssertionError("work has begun")
    yield b""
for path in sys.argv[1:]:
    for call in (check_target, lambda path: write_file(path, parts())):
        try:
            call(path)
        except PermissionError:
            continue
        raise AssertionError(path)
"""


def test_read_only_files_and_folders() -> None:
    """Checked as a user who may not write everything."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for inner, inner_mode in (("locked", 0o555), ("open", 0o777), ("sticky", 0o1777)):
            (folder / inner).mkdir()
            (folder / inner / "old").write_text("old")
            (folder / inner / "old").chmod(0o444 if inner == "open" else 0o666)
            (folder / inner).chmod(inner_mode)
        targets = [folder / "locked" / "new", folder / "locked" / "old", folder / "open" / "old"]
        if os.geteuid() == 0:
            targets.append(folder / "sticky" / "old")
        run(REFUSED, *targets, check=True)
        for inner in ("locked", "open", "sticky"):
            assert (folder / inner / "old").read_text() == "old"
            assert len(list((folder / inner).iterdir())) == 1
            (folder / inner).chmod(0o755)


# ---- what grows line by line ----


def test_logs_grow_in_place(tmp_path: Path) -> None:
    """A log is followed while it is written, so it is not replaced."""
    path = tmp_path / "log.csv"
    path.write_text("old\n")
    path.chmod(0o600)
    os.link(path, tmp_path / "same.csv")
    (tmp_path / "link.csv").symlink_to(path)
    trained = model()
    trained.compile("sgd", "mse")
    x, y = np.ones((4, 3, 2), np.float32), np.ones((4, 2), np.float32)
    trained.fit(x, y, epochs=2, verbose=0, callbacks=[callbacks.CSVLogger(tmp_path / "link.csv")])
    assert len((tmp_path / "same.csv").read_text().splitlines()) == 3
    assert mode(path) == 0o600
