"""The IDX reader on good files and on every kind of damage."""

from __future__ import annotations

import gzip
import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fusedlstm.datasets.idx import read_idx, write_idx

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IMAGES = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
# The format's own words: two zero bytes, 8 for unsigned bytes, 3 dimensions, then 3, 4 and 5.
CONTENT = bytes([0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5]) + bytes(range(60))


@pytest.fixture(params=["images", "images.gz"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[bytes], Path]:
    """Return a function that stores content under a plain or a gzip name."""

    def put(content: bytes) -> Path:
        path = tmp_path / str(request.param)
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
        return path

    return put


def test_reads_what_the_format_says(store: Callable[[bytes], Path]) -> None:
    array = read_idx(store(CONTENT), ndim=3)
    np.testing.assert_array_equal(array, IMAGES)
    assert array.dtype == np.uint8
    assert array.flags.writeable
    assert array.flags.c_contiguous


@pytest.mark.parametrize("name", ["a", "a.gz"])
@pytest.mark.parametrize("array", [IMAGES, IMAGES[:, ::2, ::-1], IMAGES[0, 0], IMAGES[:0]])
def test_write_then_read(tmp_path: Path, name: str, array: np.ndarray) -> None:
    write_idx(tmp_path / name, array)
    np.testing.assert_array_equal(read_idx(tmp_path / name, ndim=array.ndim), array)


def test_written_bytes(tmp_path: Path) -> None:
    write_idx(tmp_path / "a", IMAGES)
    assert (tmp_path / "a").read_bytes() == CONTENT
    write_idx(tmp_path / "a.gz", IMAGES)
    write_idx(tmp_path / "another name.gz", IMAGES)
    packed = (tmp_path / "a.gz").read_bytes()
    assert gzip.decompress(packed) == CONTENT
    assert packed[4:8] == bytes(4)  # no time
    assert packed == (tmp_path / "another name.gz").read_bytes()  # and no name


def test_write_refuses_other_arrays(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="array: expected dtype uint8, got float32"):
        write_idx(tmp_path / "a", IMAGES.astype(np.float32))
    with pytest.raises(ValueError, match="array: expected at least one dimension, got a scalar"):
        write_idx(tmp_path / "a", np.uint8(3) * np.ones((), np.uint8))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "expected", "found"),
    [
        (b"", "IDX magic number 0x00000803", "found an empty file"),
        (b"\0", "IDX magic number 0x00000803", "found 0x00"),
        (b"<html>" * 9, "IDX magic number 0x00000803", "found 0x3c68746d"),
        (bytes([0, 0, 8, 1]) + CONTENT[4:], r"unsigned bytes, dimensions: 3", "found 0x00000801"),
        (bytes([0, 0, 13, 3]) + CONTENT[4:], "IDX magic number 0x00000803", "found 0x00000d03"),
        (CONTENT[:4], "IDX header of 16 bytes", "found only 4"),
        (CONTENT[:15], "IDX header of 16 bytes", "found only 15"),
        (CONTENT[:16], r"60 bytes of data for shape \(3, 4, 5\)", "found only 0"),
        (CONTENT[:-1], r"60 bytes of data for shape \(3, 4, 5\)", "found only 59"),
        (CONTENT + b"\0", r"60 bytes of data for shape \(3, 4, 5\)", "found more bytes after them"),
        # A header that promises 2**96 bytes must not make the reader reserve them.
        (CONTENT[:4] + b"\xff" * 12 + CONTENT[16:], "bytes of data for shape", "found only 60"),
        # No bytes, but NumPy has no array of this shape.
        (CONTENT[:4] + b"\0" * 4 + b"\xff" * 8, "a shape that an array can have", r"\(0, 4294967295, "),
    ],
)
def test_damaged_content(store: Callable[[bytes], Path], content: bytes, expected: str, found: str) -> None:
    path = store(content)
    if path.suffix == ".gz" and content[4:8] == b"\xff" * 4:
        expected, found = "content that takes at most", "max_bytes raises the limit"
    with pytest.raises(ValueError, match=rf"{path.name}: expected .*{expected}.*{found}"):
        read_idx(path, ndim=3)


def _flip(content: bytes, position: int) -> bytes:
    changed = bytearray(content)
    changed[position] ^= 0x10
    return bytes(changed)


PACKED = gzip.compress(CONTENT, mtime=0)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(CONTENT, id="not gzip"),
        pytest.param(PACKED[:5], id="truncated header"),
        pytest.param(PACKED[:30], id="truncated data"),
        pytest.param(PACKED[:-8], id="truncated trailer"),
        pytest.param(PACKED[:-1], id="last byte missing"),
        pytest.param(_flip(PACKED, 20), id="flipped data"),
        pytest.param(_flip(PACKED, len(PACKED) - 6), id="flipped checksum"),
        pytest.param(_flip(PACKED, len(PACKED) - 2), id="flipped length"),
        pytest.param(PACKED + b"trailing", id="trailing bytes"),
    ],
)
def test_damaged_gzip(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"images\.gz: expected .*, found "):
        read_idx(path, ndim=3)


def test_hash_of_the_decompressed_content(store: Callable[[bytes], Path]) -> None:
    right = hashlib.sha256(CONTENT).hexdigest()
    np.testing.assert_array_equal(read_idx(store(CONTENT), ndim=3, sha256=right), IMAGES)
    path = store(CONTENT[:-1] + b"\0")
    with pytest.raises(
        ValueError, match=rf"{path.name}: expected content of SHA-256 {right}, found [0-9a-f]{{64}}"
    ):
        read_idx(path, ndim=3, sha256=right)


def test_error_can_name_the_file_otherwise(store: Callable[[bytes], Path]) -> None:
    with pytest.raises(ValueError, match=r"^http://mirror/a: expected"):
        read_idx(store(b"x"), ndim=3, shown_as="http://mirror/a")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "none", ndim=3)
