"""Changes to IDX files and to the gzip streams around them, with checksums made anew."""

from __future__ import annotations

import gzip
import struct
from typing import TYPE_CHECKING

from tests.fuzz.damage import damaged

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

__all__ = ["changed_header", "compressed_anew"]

_SIZES = (0, 1, 2, 27, 28, 29, 2**16, 2**20, 2**24, 2**31 - 1, 2**31, 2**32 - 1)


def changed_header(random: np.random.Generator, content: bytes, corpus: Sequence[bytes]) -> bytes:
    """Change the magic number or a size."""
    del corpus
    packed = content[:2] == b"\x1f\x8b"
    inner = bytearray(_inner(content) if packed else content)
    if random.random() < 0.3:
        inner[int(random.integers(4))] = int(random.integers(256))
    else:
        place = 4 + 4 * int(random.integers(3))
        inner[place : place + 4] = struct.pack(">I", _SIZES[int(random.integers(len(_SIZES)))])
    return _compressed(random, bytes(inner)) if packed else bytes(inner)


def compressed_anew(random: np.random.Generator, content: bytes, corpus: Sequence[bytes]) -> bytes:
    """Damage what is inside, cut the stream into members, add members or zeros after it."""
    inner = _inner(content)
    kind = int(random.integers(5))
    if kind == 0:
        return _compressed(random, damaged(random, inner, [_inner(one) for one in corpus]))
    if kind == 1:
        place = int(random.integers(len(inner) + 1))
        return _compressed(random, inner[:place]) + _compressed(random, inner[place:])
    if kind == 2:
        return _compressed(random, inner) + bytes(int(random.integers(1, 100)))
    if kind == 3:
        return _compressed(random, inner) + _compressed(random, b"") * int(random.integers(1, 2000))
    return _compressed(random, inner + bytes(1 << int(random.integers(10, 29))))


def _inner(content: bytes) -> bytes:
    return gzip.decompress(content)


def _compressed(random: np.random.Generator, content: bytes) -> bytes:
    return gzip.compress(content, int(random.integers(1, 10)) if len(content) < 1 << 20 else 1, mtime=0)
