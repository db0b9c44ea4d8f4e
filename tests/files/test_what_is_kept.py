"""Files that are saved over: mode, owner, attributes, links, pipes and devices."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fusedlstm.base.variable import Variable
from fusedlstm.io.atomic import check_target, write_text

from . import common
from .common import WRITERS, endings, mode, model, run

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def umask() -> Iterator[int]:
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


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
    monkeypatch.setattr(common, "model", lambda: written)
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
