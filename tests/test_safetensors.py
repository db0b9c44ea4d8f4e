"""Files of named arrays: round trips, tampering byte by byte, atomic writes."""

from __future__ import annotations

import json
import os
import stat
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.numpy

from fusedlstm.io.safetensors import read_tensors, write_tensors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TENSORS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a/b": np.array([np.nan, -0.0, np.inf]),
    "scalar": np.array(7, dtype=np.int64),
    "empty": np.zeros((0, 4), np.float32),
    "strided": np.arange(24, dtype=np.float64).reshape(4, 6)[::2, ::-3],
}
METADATA = {"model": '{"units": 3, "rate": 0.5}', "Größe": "\n\"' \\ ∑"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file that holds TENSORS and METADATA."""
    path = tmp_path / "a.safetensors"
    write_tensors(path, TENSORS, METADATA)
    return path


def same(left: Any, right: Any) -> bool:
    """Whether two arrays have the same dtype, shape and bits."""
    return bool(left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes())


def test_round_trip(path: Path) -> None:
    tensors, metadata = read_tensors(path)
    assert metadata == METADATA
    assert set(tensors) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert same(tensors[name], tensor), name
        tensors[name][...] = 0  # the arrays are the caller's own


def test_other_programs_can_read_it(path: Path) -> None:
    loaded = safetensors.numpy.load_file(path)
    assert all(same(loaded[name], tensor) for name, tensor in TENSORS.items())


def test_same_content_same_bytes(path: Path, tmp_path: Path) -> None:
    write_tensors(tmp_path / "b.safetensors", dict(reversed(TENSORS.items())), METADATA)
    assert (tmp_path / "b.safetensors").read_bytes() == path.read_bytes()


def test_every_flipped_bit_is_noticed(path: Path, tmp_path: Path) -> None:
    """Length, names, dtypes, shapes, offsets, metadata, checksum, padding, data: every byte of the file."""
    content = path.read_bytes()
    other = tmp_path / "other.safetensors"
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << (position % 8)
        other.write_bytes(changed)
        with pytest.raises(ValueError, match=r"other\.safetensors: expected .*found "):
            read_tensors(other)


def test_every_truncation_is_noticed(path: Path, tmp_path: Path) -> None:
    content = path.read_bytes()
    other = tmp_path / "other.safetensors"
    for length in range(len(content)):
        other.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"other\.safetensors: expected .*found "):
            read_tensors(other)


def _repack(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change the JSON header, keeping the file well formed."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    edit(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda h: h["__metadata__"].update(model="{}"), "content of SHA-256"),
        (lambda h: h["__metadata__"].pop("model"), "content of SHA-256"),
        (lambda h: h["__metadata__"].update(more="x"), "content of SHA-256"),
        (lambda h: h["__metadata__"].pop("sha256"), "content of SHA-256 None"),
        (lambda h: h["__metadata__"].update(format_version="2"), "format_version '1', found '2'"),
        (lambda h: h["__metadata__"].pop("format_version"), "format_version '1', found None"),
        (lambda h: h["__metadata__"].update(format="pt"), "format \"fusedlstm\", found format 'pt'"),
        (lambda h: h.pop("__metadata__"), "format \"fusedlstm\", found format 'none'"),
        (lambda h: h.update(other=h.pop("a")), "content of SHA-256"),
        (lambda h: h["a"].update(shape=[3, 2]), "content of SHA-256"),
        (lambda h: h["a"].update(shape=[3, 3]), "complete safetensors file"),
        (lambda h: h["a"].update(dtype="F64"), "complete safetensors file"),
        (lambda h: h["a"].update(dtype="BF16"), "tensor 'a' of dtype F32 or F64 or I64, found 'BF16'"),
        (lambda h: h.update(a=3), "tensor 'a' of dtype F32 or F64 or I64, found None"),
    ],
)
def test_tampered_header(path: Path, edit: Callable[[dict[str, Any]], object], message: str) -> None:
    _repack(path, edit)
    with pytest.raises(ValueError, match=rf"a\.safetensors: expected .*{message}"):
        read_tensors(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\3\4 a zip file, such as Keras's",
        (5).to_bytes(8, "little") + b"[1,2]",
        (9).to_bytes(8, "little") + b"[" * 9,
        (100_000).to_bytes(8, "little") + b"[" * 100_000,
        (4).to_bytes(8, "little") + b"\xff\xfe\xfd\xfc",
        b"\xff" * 64,
    ],
)
def test_foreign_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.safetensors: expected a safetensors file, found "):
        read_tensors(path)


def test_foreign_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    safetensors.numpy.save_file({"w": np.zeros(3)}, path)
    with pytest.raises(ValueError, match="expected metadata with format \"fusedlstm\", found format 'none'"):
        read_tensors(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_tensors(tmp_path / "none.safetensors")


@pytest.mark.parametrize("name", ["a", "a.h5", "a.keras", "a.safetensors.bak"])
def test_other_suffixes(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"path: expected a file name that ends in \.safetensors, got '.*'"):
        write_tensors(tmp_path / name, TENSORS, METADATA)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("array", [np.zeros(2, np.float16), np.zeros(2, ">f4"), np.array(["text"])])
def test_other_dtypes(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="bad: expected one of the dtypes float32, float64, int64, got "):
        write_tensors(tmp_path / "a.safetensors", {"bad": array}, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_failed_write_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    before = path.read_bytes()

    def fail(*_args: object) -> None:
        raise OSError("disk full")

    if failing == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_tensors(path, {"a": np.ones(5)}, {})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_write_into_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_tensors(tmp_path / "none" / "a.safetensors", TENSORS, METADATA)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX links and permissions")
def test_links_and_permissions(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.safetensors"
    link.symlink_to(path)
    write_tensors(link, {"a": np.ones(5)}, {})
    assert link.is_symlink()
    assert list(read_tensors(path)[0]) == ["a"]
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_without_safetensors(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    for call in (lambda: read_tensors(path), lambda: write_tensors(path, TENSORS, METADATA)):
        with pytest.raises(ImportError, match=r'pip install "fusedlstm\[io\]"'):
            call()
