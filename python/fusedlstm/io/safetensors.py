"""Named arrays and text in one checked .safetensors file, written atomically.

The header's metadata holds the caller's texts, ``format`` and ``format_version`` of this package, and the
``sha256`` of all of it: metadata, names, dtypes, shapes and bytes. Any program that knows safetensors can
read the tensors; nothing in such a file is ever executed.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.base import checks, limits
from fusedlstm.io.atomic import check_target, write_file
from fusedlstm.io.endings import check_ending
from fusedlstm.io.json_text import parse

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from numpy.typing import NDArray

SUFFIX = ".safetensors"
FORMAT = "fusedlstm"
FORMAT_VERSION = "1"
# An array's own memory, beside its numbers.
_ENTRY = 512
_DTYPES = {"F32": np.float32, "F64": np.float64, "I64": np.int64}


def _library() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError('model files need safetensors: pip install "fusedlstm[io]"') from error
    return safetensors


def check_path(path: str | os.PathLike[str]) -> Path:
    """Return the path, or raise ValueError when its name does not end in ``.safetensors``."""
    check_ending(path, (SUFFIX,))
    return Path(path)


def checksum(tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> str:
    """Return the SHA-256 of names, dtypes, shapes, bytes and texts."""
    digest = hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        digest.update(json.dumps([name, tensor.dtype.name, tensors[name].shape]).encode())
        digest.update(tensor.data)
    return digest.hexdigest()


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]
) -> None:
    """Write arrays and texts into one file, which is either complete or not there.

    Parameters
    ----------
    path
        The file, ending in ``.safetensors``. One that exists is replaced at the end, in one step; until
        then, and after a failure, it is as before.
    tensors
        float32, float64 or int64 arrays of any shape and strides, by name.
    metadata
        Texts by name; the names ``format``, ``format_version`` and ``sha256`` are this function's own.

    Raises
    ------
    ImportError
        When safetensors is not installed.
    OSError
        When the file cannot be written.
    ValueError
        When the name does not end in ``.safetensors`` or an array has another dtype.
    """
    target = check_path(path)
    check_target(target)
    for name, tensor in tensors.items():
        if tensor.dtype not in _DTYPES.values():
            known = ", ".join(np.dtype(dtype).name for dtype in _DTYPES.values())
            raise ValueError(f"{name}: expected one of the dtypes {known}, got {tensor.dtype}")
    complete = {**metadata, "format": FORMAT, "format_version": FORMAT_VERSION}
    complete["sha256"] = checksum(tensors, complete)
    # np.ascontiguousarray would turn a scalar into a vector.
    arrays = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    write_file(target, _sort_header(target, _library().numpy.save(arrays, metadata=complete)))


def _sort_header(path: Path, content: bytes) -> tuple[bytes, memoryview]:
    """Return header and data with the header's names sorted: the library writes the metadata in any order.

    So equal models make equal files, byte for byte.
    """
    header = json.dumps(_read_header(path, content), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # keeps the data aligned to 8 bytes
    start = 8 + int.from_bytes(content[:8], "little")
    return len(header).to_bytes(8, "little") + header, memoryview(content)[start:]


def read_tensors(
    path: str | os.PathLike[str], *, max_bytes: int | None = None
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Read and check a file that `write_tensors` wrote.

    Parameters
    ----------
    path
        The file.
    max_bytes
        Memory that its content may take; see `fusedlstm.base.limits`.

    Returns
    -------
    tensors, metadata
        As they were given to `write_tensors`. The arrays' memory is the caller's own.

    Raises
    ------
    ImportError
        When safetensors is not installed.
    OSError
        When the file is not there or cannot be read.
    ValueError
        When the file is not a safetensors file, is damaged or truncated, or was written by another program
        or in a version of the format that is not known. The message names the file, what was expected and
        what was found.
    """
    with limits.content(path, max_bytes) as content:
        return parse_tensors(content, path)


def parse_tensors(
    content: bytes, path: str | os.PathLike[str]
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Do what `read_tensors` does with the content of a file, which messages call by its path."""
    library = _library()
    header = _read_header(path, content)
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        found = metadata.get("format", "none") if isinstance(metadata, dict) else "none"
        raise ValueError(f'{path}: expected metadata with format "{FORMAT}", found format {found!r}')
    if metadata.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{path}: expected format_version {FORMAT_VERSION!r}, found {metadata.get('format_version')!r}"
        )
    texts = [*metadata, *metadata.values()]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{path}: expected metadata of texts, found other values")
    for name, entry in header.items():
        try:
            _check_entry(name, entry)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    limits.claim(len(content), str(path))
    try:
        tensors: dict[str, NDArray[Any]] = library.numpy.load(content)
    except library.SafetensorError as error:
        raise ValueError(f"{path}: expected a complete safetensors file, found {error}") from error
    stated = metadata.pop("sha256", None)
    computed = checksum(tensors, metadata)
    if stated != computed:
        raise ValueError(f"{path}: expected content of SHA-256 {stated}, found {computed}")
    del metadata["format"], metadata["format_version"]
    return tensors, metadata


def _check_entry(name: str, entry: Any) -> None:
    """Check what a header says of a tensor; that the data are there and do not overlap, the library does."""
    limits.claim_description(_ENTRY, f"tensor {name!r:.80}")
    dtype = entry.get("dtype") if isinstance(entry, dict) else None
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        known = " or ".join(_DTYPES)
        raise ValueError(f"expected tensor {name!r:.80} of dtype {known}, found {dtype!r:.80}")
    shape, offsets = entry.get("shape"), entry.get("data_offsets")
    if isinstance(shape, list):
        checks.few_axes(shape, f"tensor {name!r:.80}")
    for numbers in (shape, offsets):
        if (
            not isinstance(numbers, list)
            or len(numbers) > checks.MOST_AXES
            or not all(type(number) is int and 0 <= number < 1 << 63 for number in numbers)
        ):
            raise ValueError(
                f"expected tensor {name!r:.80} with shape and offsets, found {shape!r:.60}, {offsets!r:.60}"
            )
    size = math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize
    if len(offsets) != 2 or offsets[1] - offsets[0] != size:
        raise ValueError(
            f"expected a complete safetensors file, found tensor {name!r:.80} of {size} bytes, "
            f"shape {shape!r:.80}, at {offsets!r:.80}"
        )


def _read_header(path: str | os.PathLike[str], content: bytes) -> dict[str, Any]:
    """Return the JSON header: a 64-bit little-endian length, then so many bytes of UTF-8."""
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > len(content) - 8:
        raise ValueError(
            f"{path}: expected a safetensors file, found {len(content)} bytes that do not hold "
            "the header they announce"
        )
    try:
        header = parse(content[8 : 8 + length], "header")
    except ValueError as error:
        raise ValueError(
            f"{path}: expected a safetensors file, found a header that is wrong: {error}"
        ) from error
    if not isinstance(header, dict):
        raise ValueError(f"{path}: expected a safetensors file, found a header that is not an object")
    return header
