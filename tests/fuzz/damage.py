"""Damage to bytes: flips, truncations, insertions, splices, numbers overwritten."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

__all__ = ["damaged"]

# Numbers at the edges of the types that lengths, offsets and counts have in files.
_EDGES = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    2**63 - 1,
    2**63,
    2**64 - 1,
)


def damaged(random: np.random.Generator, content: bytes, corpus: Sequence[bytes]) -> bytes:
    """Return the content with up to four places damaged."""
    for _ in range(int(random.integers(1, 5))):
        kind = _KINDS[int(random.integers(len(_KINDS)))]
        content = kind(random, content, corpus)
    return content


def _place(random: np.random.Generator, content: bytes) -> int:
    """Return a position; half of them are near one of the ends, where headers and directories are."""
    size = max(1, len(content))
    if random.random() < 0.5:
        return int(random.integers(size))
    near = int(random.integers(min(size, 512)))
    return near if random.random() < 0.5 else size - 1 - near


def _flip(random: np.random.Generator, content: bytes, corpus: Sequence[bytes]) -> bytes:
    del corpus
    changed = bytearray(content or b"\0")
    changed[_place(random, content)] ^= 1 << int(random.integers(8))
    return bytes(changed)


def _overwrite(random: np.random.Generator, content: bytes, corpus: Sequence[bytes]) -> bytes:
    del corpus
    width = (1, 2, 4, 8)[int(random.integers(4))]
    number = _EDGES[int(random.integers(len(_EDGES)))] % (1 << 8 * width)
    place = _place(random, content)
    order = "little" if random.random() < 0.5 else "big"
    return content[:place] + number.to_bytes(width, order) + content[place + width :]  # type: ignore[arg-type]


def _truncate(random: np.random.Generator, content: bytes, corpus: Sequence[bytes]) -> bytes:
    del corpus
    return content[: _place(random, content)]


def _cut(random: np.random.Generator, content: bytes, corpus: Sequence[bytes]) -> bytes:
    del corpus
    place = _place(random, content)
    return content[:place] + content[place + int(random.integers(1, 64)) :]


def _insert(random: np.random.Generator, content: bytes, corpus: Sequence[bytes]) -> bytes:
    del corpus
    place = _place(random, content)
    return content[:place] + random.bytes(int(random.integers(1, 64))) + content[place:]


def _repeat(random: np.random.Generator, content: bytes, corpus: Sequence[bytes]) -> bytes:
    del corpus
    place = _place(random, content)
    piece = content[place : place + int(random.integers(1, 256))]
    return content[:place] + piece * int(random.integers(1, 9)) + content[place:]


def _splice(random: np.random.Generator, content: bytes, corpus: Sequence[bytes]) -> bytes:
    other = corpus[int(random.integers(len(corpus)))]
    return content[: _place(random, content)] + other[_place(random, other) :]


_KINDS = (_flip, _flip, _overwrite, _overwrite, _truncate, _cut, _insert, _repeat, _splice)
