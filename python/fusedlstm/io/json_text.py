"""JSON texts that come from files."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np

from fusedlstm.base import limits

# Levels of lists and objects inside of each other: more than a model of layers inside of layers has, whose
# inputs have an axis for each, and fewer than recursion bears.
DEPTH = 96
# What the value of a text takes at most for each of these characters outside of its strings: an empty
# object, a list of one, a member of an object, an item; and for each string, beside its own characters.
_EXPANSION = {"{": 96, "[": 96, ":": 64, ",": 32}
_STRING = 64
# Characters that are counted at a time.
_PIECE = 1 << 20


def parse(text: str | bytes, what: str) -> Any:
    """Return the value of a text.

    Parameters
    ----------
    text : str or bytes
        As it is in a file; bytes are of UTF-8.
    what : str
        What it is, to begin messages with.

    Raises
    ------
    ValueError
        If it is no JSON, is nested too deeply, names a member twice, or its value would take too much memory.
    """
    # Bytes of other encodings could hide characters from being counted.
    content = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    # The text and the strings in it, whose characters may take four bytes each.
    limits.claim_description((3 if content.isascii() else 8) * len(content), what)
    limits.claim_description(_expansion(content), what)
    try:
        value = json.loads(text if isinstance(text, str) else str(text, "utf-8"), object_pairs_hook=_unique)
    except RecursionError as error:
        raise ValueError(f"{what}: expected JSON of at most {DEPTH} levels, found more") from error
    except ValueError as error:
        raise ValueError(f"{what}: expected JSON, found {error}") from error
    level = [value]
    for _ in range(DEPTH):
        level = [item for parent in level for item in _items(parent)]
        if not level:
            return value
    raise ValueError(f"{what}: expected JSON of at most {DEPTH} levels, found more")


def _expansion(content: bytes) -> int:
    """Return what a text's value takes in memory beside the text, without making it."""
    plain = content.replace(b"\\\\", b"").replace(b'\\"', b"")
    counts = np.zeros(256, np.int64)
    inside = np.uint8(0)
    for start in range(0, len(plain), _PIECE):
        characters = np.frombuffer(plain[start : start + _PIECE], np.uint8)
        # Sums modulo 256: odd after the quote that begins a string.
        sums = np.add.accumulate(characters == ord('"'), dtype=np.uint8) + inside & 1
        counts += np.bincount(characters[sums == 0], minlength=256)
        inside = sums[-1]
    strings = plain.count(b'"') // 2
    return _STRING * strings + sum(size * int(counts[ord(mark)]) for mark, size in _EXPANSION.items())


def _items(parent: Any) -> list[Any]:
    """Return the lists and dictionaries in a value."""
    values = parent.values() if isinstance(parent, dict) else parent if isinstance(parent, list) else ()
    return [value for value in values if isinstance(value, list | dict)]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"the member {twice!r:.80} twice")
    return result
