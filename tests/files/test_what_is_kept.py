"""Every file that the package writes: what becomes of modes, links, special files and left-over parts."""

from __future__ import annotations

import errno
import gc
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import fusedlstm
from fusedlstm import callbacks, layers
from fusedlstm.base.variable import Variable
from fusedlstm.commands import report
from fusedlstm.datasets.idx import write_idx
from fusedlstm.io.atomic import check_target, write_file, write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGE = Path(fusedlstm.__file__).parents[1]


def model() -> fusedlstm.Sequential:
    fusedlstm.utils.set_random_seed(1)
    parts = [layers.Input((3, 2)), layers.LSTM(4, name="l"), layers.Dense(2, name="d")]
    return fusedlstm.Sequential(parts, name="model")


WRITERS: dict[str, Callable[[Path], object]] = {
    ".safetensors": lambda path: model().save(path),
    ".keras": lambda path: model().save(path),
    ".weights.h5": lambda path: model().save_weights(path),
    ".onnx": lambda path: fusedlstm.to_onnx(model(), path),
    ".idx": lambda path: write_idx(path, np.arange(6, dtype=np.uint8)),
    ".idx.gz": lambda path: write_idx(path, np.arange(6, dtype=np.uint8)),
    ".png": lambda path: report._save(report._figure(0.5, 0.5), path),
    ".json": lambda path: write_text(path, "{}\n"),
}
endings = pytest.mark.parametrize("ending", WRITERS)


@pytest.fixture
def umask() -> Iterator[int]:
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@endings
def test_mode_and_owner_are_kept(tmp_path: Path, ending: str, umask: int) -> None:
    path = tmp_path / f"a{ending}"
    WRITERS[ending](path)
    assert mode(path) == 0o666 & ~umask
    content = path.read_bytes()
    assert content
    for wanted in (0o600, 0o664, 0o640):
        path.write_bytes(b"old")
        path.chmod(wanted)
        if os.geteuid() == 0:
            os.chown(path, 12345, 23456)
        before = path.stat()
        WRITERS[ending](path)
        assert path.read_bytes() == content
        assert mode(path) == wanted
        assert (path.stat().st_uid, path.stat().st_gid) == (before.st_uid, before.st_gid)
    assert list(tmp_path.iterdir()) == [path]


def test_a_group_that_cannot_be_kept_loses_its_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o664)

    def refuse(*_args: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "chown", refuse)
    write_text(path, "new")
    assert mode(path) == 0o644
    path.chmod(0o660)
    write_text(path, "new")
    assert mode(path) == 0o600


def test_extended_attributes_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    try:
        os.setxattr(path, "user.kept", b"yes")
    except (AttributeError, OSError):
        pytest.skip("no extended attributes here")
    write_text(path, "new")
    assert os.getxattr(path, "user.kept") == b"yes"


@endings
def test_links_lead_to_what_is_replaced(tmp_path: Path, ending: str) -> None:
    (tmp_path / "folder").mkdir()
    target = tmp_path / "folder" / f"target{ending}"
    target.write_bytes(b"old")
    target.chmod(0o600)
    link, other = tmp_path / f"link{ending}", tmp_path / f"other{ending}"
    link.symlink_to(f"folder/target{ending}")
    other.symlink_to(link)
    WRITERS[ending](other)
    assert link.is_symlink()
    assert other.is_symlink()
    assert target.read_bytes() != b"old"
    assert mode(target) == 0o600
    target.unlink()
    WRITERS[ending](other)  # a link to a file that is yet to be made
    assert link.is_symlink()
    assert target.is_file()
    assert {path.name for path in tmp_path.rglob("*")} == {"folder", target.name, link.name, other.name}


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    for call in (check_target, lambda path: write_text(path, "")):
        with pytest.raises(OSError, match="links that lead in a circle") as caught:
            call(tmp_path / "a")
        assert caught.value.errno == errno.ELOOP
    assert (tmp_path / "a").is_symlink()


def test_other_names_of_a_file_keep_the_old_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    os.link(tmp_path / "a", tmp_path / "b")
    write_text(tmp_path / "a", "new")
    assert ((tmp_path / "a").read_text(), (tmp_path / "b").read_text()) == ("new", "old")


@endings
def test_folders_and_sockets_are_refused_before_the_work(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, listening = tmp_path / f"folder{ending}", tmp_path / f"s{ending}"
    folder.mkdir()
    written = model()
    monkeypatch.setitem(globals(), "model", lambda: written)
    monkeypatch.setattr(Variable, "numpy", lambda _self: pytest.fail("work has begun"))
    with pytest.raises(IsADirectoryError, match="found a folder"):
        WRITERS[ending](folder)
    with pytest.raises(FileNotFoundError, match=r"none'"):
        WRITERS[ending](tmp_path / "none" / f"a{ending}")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        WRITERS[ending](tmp_path / "file" / f"a{ending}")
    with pytest.raises(OSError, match="File name too long"):
        WRITERS[ending](tmp_path / f"{'a' * 255}{ending}")
    with socket.socket(socket.AF_UNIX) as server:
        # The whole path would be too long for a socket.
        monkeypatch.chdir(tmp_path)
        server.bind(listening.name)
        with pytest.raises(OSError, match="found a socket"):
            WRITERS[ending](listening)
    assert listening.is_socket()


@endings
def test_pipes_are_written_to(tmp_path: Path, ending: str) -> None:
    plain, pipe = tmp_path / f"a{ending}", tmp_path / f"b{ending}"
    WRITERS[ending](plain)
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="a pipe that somebody reads from"):
        WRITERS[ending](pipe)
    received: list[bytes] = []
    # Opened without waiting for a writer, so that the writer below finds a reader.
    descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)

    def read() -> None:
        with os.fdopen(descriptor, "rb") as stream:
            received.append(stream.read())

    check_target(pipe)
    held = os.open(pipe, os.O_WRONLY)  # The reader must not see an end before the content.
    reader = threading.Thread(target=read)
    reader.start()
    WRITERS[ending](pipe)
    os.close(held)
    reader.join()
    assert received == [plain.read_bytes()]
    assert pipe.is_fifo()


SCRIPT = "from fusedlstm.io.atomic import *; import os, signal, sys\n"


def run(code: str, *arguments: object, **options: object) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    command = [sys.executable, "-c", SCRIPT + code, *map(str, arguments)]
    return subprocess.run(command, env=environment, **options)  # type: ignore[call-overload, no-any-return]


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="no such names here")
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1"])
def test_standard_output(tmp_path: Path, name: str) -> None:
    code = "print('before'); check_target(sys.argv[1]); write_text(sys.argv[1], 'text\\n'); print('after')"
    wanted = b"before\ntext\nafter\n"
    assert run(code, name, check=True, capture_output=True).stdout == wanted
    target = tmp_path / "out"
    with target.open("wb") as stream:
        inode = target.stat().st_ino
        run(code, name, check=True, stdout=stream)
    assert target.read_bytes() == wanted
    assert target.stat().st_ino == inode
    assert list(tmp_path.iterdir()) == [target]
    if sys.platform == "linux":
        with pytest.raises(PermissionError, match="open for writing"), target.open("rb") as stream:
            check_target(f"/dev/fd/{stream.fileno()}")


def test_devices() -> None:
    write_text("/dev/null", "text")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


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
