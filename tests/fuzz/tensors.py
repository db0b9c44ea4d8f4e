"""Changes to the package's own files, with the header's length and the checksum made anew."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.io import safetensors
from tests.fuzz.trees import changed_text, changed_tree

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["changed_header", "signed_anew"]


def changed_header(random: np.random.Generator, content: bytes, corpus: Sequence[bytes]) -> bytes:
    """Change the header's tree; the checksum is wrong then."""
    del corpus
    header, data = _parts(content)
    return _joined(changed_text(random, json.dumps(header)), data)


def signed_anew(random: np.random.Generator, content: bytes, corpus: Sequence[bytes]) -> bytes:
    """Change a description, or names and values of tensors, so that only what they mean is wrong."""
    del corpus
    header, data = _parts(content)
    metadata = header.pop("__metadata__")
    kind = int(random.integers(4))
    texts = [name for name in ("model", "training") if name in metadata]
    if kind < 3:
        name = texts[int(random.integers(len(texts)))]
        metadata[name] = changed_text(random, metadata[name])
    if kind >= 2 and header:
        _tensors(random, header)
    metadata.pop("sha256")
    try:
        tensors = {name: _array(entry, data) for name, entry in header.items()}
    except (KeyError, TypeError, ValueError):
        tensors = {}
    metadata["sha256"] = safetensors.checksum(tensors, metadata)
    return _joined(json.dumps({"__metadata__": metadata, **header}), data)


def _tensors(random: np.random.Generator, header: dict[str, Any]) -> None:
    names = list(header)
    one, two = (names[int(random.integers(len(names)))] for _ in range(2))
    kind = int(random.integers(5))
    if kind == 0:
        del header[one]
    elif kind == 1:
        header[one], header[two] = header[two], header[one]
    elif kind == 2:
        header[f"{one}x"] = header.pop(one)
    elif kind == 3:
        header[one] = {**header[one], "shape": header[one]["shape"][::-1] if random.random() < 0.5 else [-1]}
    else:
        header[one] = changed_tree(random, header[one])


def _array(entry: dict[str, Any], data: bytes) -> np.ndarray[Any, Any]:
    begin, end = entry["data_offsets"]
    kinds = {"F32": np.float32, "F64": np.float64, "I64": np.int64}
    return np.frombuffer(data[begin:end], kinds[entry["dtype"]]).reshape(entry["shape"])


def _parts(content: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _joined(text: str, data: bytes) -> bytes:
    header = text.encode(errors="surrogatepass")
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data
