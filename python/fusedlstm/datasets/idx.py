"""Read and write the IDX files of the MNIST family: unsigned bytes, plain or gzip-compressed.

An IDX file is a big-endian header (two zero bytes, one byte for the data type, one for the number of
dimensions, then each dimension as a 32-bit integer) followed by the values in C order, and nothing else.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.base import limits
from fusedlstm.datasets.unpacking import Unpacked
from fusedlstm.io.atomic import write_file

if TYPE_CHECKING:
    import os
    from typing import BinaryIO

    from numpy.typing import NDArray

_UNSIGNED_BYTE = 0x08
_CHUNK = 1 << 20


def _open(path: Path, name: str) -> BinaryIO | Unpacked:
    file = path.open("rb")
    return Unpacked(file, name) if path.suffix == ".gz" else file


def _read_up_to(file: BinaryIO | Unpacked, count: int) -> bytearray:
    """Read at most ``count`` bytes, piece by piece.

    The count comes from a header that may be damaged, so memory grows with the bytes that are really
    there, not with the number that the header promises.
    """
    data = bytearray()
    while len(data) < count:
        piece = file.read(min(_CHUNK, count - len(data)))
        if not piece:
            break
        data += piece
    return data


def read_idx(
    path: str | os.PathLike[str],
    *,
    ndim: int,
    sha256: str | None = None,
    shown_as: str | None = None,
    max_bytes: int | None = None,
) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes; a name ending in ``.gz`` means gzip.

    Parameters
    ----------
    path
        The file.
    ndim
        Number of dimensions that the file must have: 1 for labels, 3 for images.
    sha256
        Hexadecimal SHA-256 that the decompressed file must have; not checked when None.
    shown_as
        What errors call the file; the path when None.
    max_bytes
        Memory that the array may take; see `fusedlstm.base.limits`.

    Returns
    -------
    array
        uint8, with the shape that the header states. Its memory is the caller's own and writable.

    Raises
    ------
    ValueError
        When the file is damaged, truncated, of another type or dimension, followed by other bytes, of
        another hash, or asks for more memory. The message names the file, what was expected and what was
        found.
    OSError
        When the file cannot be opened or read.
    """
    path = Path(path)
    name = str(path) if shown_as is None else shown_as
    digest = hashlib.sha256()
    try:
        with limits.reading(limits.size_of(path), max_bytes), _open(path, name) as file:
            shape = _read_header(file, ndim, name, digest)
            size = math.prod(shape)
            if path.suffix == ".gz":
                limits.claim(size, name)
            # One byte more than wanted shows trailing bytes, and makes gzip check its own checksum.
            payload = _read_up_to(file, size + 1)
    except (EOFError, zlib.error) as error:
        raise ValueError(f"{name}: expected a complete gzip file, found a damaged one ({error})") from error
    if len(payload) != size:
        found = f"only {len(payload)}" if len(payload) < size else "more bytes after them"
        raise ValueError(f"{name}: expected {size} bytes of data for shape {shape}, found {found}")
    digest.update(payload)
    if sha256 is not None and digest.hexdigest() != sha256:
        raise ValueError(f"{name}: expected content of SHA-256 {sha256}, found {digest.hexdigest()}")
    return np.frombuffer(payload, dtype=np.uint8).reshape(shape)


def _read_header(file: BinaryIO | Unpacked, ndim: int, name: str, digest: hashlib._Hash) -> tuple[int, ...]:
    header = bytes(_read_up_to(file, 4 + 4 * ndim))
    magic = bytes([0, 0, _UNSIGNED_BYTE, ndim])
    if header[:4] != magic:
        found = f"0x{header[:4].hex()}" if header else "an empty file"
        raise ValueError(
            f"{name}: expected the IDX magic number 0x{magic.hex()} (unsigned bytes, dimensions: {ndim}), "
            f"found {found}"
        )
    if len(header) != 4 + 4 * ndim:
        raise ValueError(f"{name}: expected an IDX header of {4 + 4 * ndim} bytes, found only {len(header)}")
    digest.update(header)
    shape = tuple(int(size) for size in np.frombuffer(header, dtype=">u4", offset=4))
    # NumPy counts the other axes of an array without elements, too.
    if 0 in shape and math.prod(max(1, size) for size in shape) > sys.maxsize:
        raise ValueError(f"{name}: expected a shape that an array can have, found {shape}")
    return shape


def write_idx(path: str | os.PathLike[str], array: NDArray[Any]) -> None:
    """Write one IDX file of unsigned bytes; a name ending in ``.gz`` makes it gzip.

    The gzip header holds no time and no name, so the same array gives the same bytes everywhere
    (as far as zlib itself does).

    Parameters
    ----------
    path
        The file; one that exists is replaced by a complete one.
    array
        uint8, of 1 to 255 dimensions, each below 2**32.

    Raises
    ------
    TypeError
        When the array is not uint8.
    ValueError
        When the array has no dimension.
    """
    if array.dtype != np.uint8:
        raise TypeError(f"array: expected dtype uint8, got {array.dtype}")
    if array.ndim == 0:
        raise ValueError("array: expected at least one dimension, got a scalar")
    path = Path(path)
    header = bytes([0, 0, _UNSIGNED_BYTE, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
    content = header + array.tobytes()
    if path.suffix == ".gz":
        packed = io.BytesIO()
        with gzip.GzipFile("", "wb", compresslevel=9, fileobj=packed, mtime=0) as file:
            file.write(content)
        content = packed.getvalue()
    write_file(path, [content])
