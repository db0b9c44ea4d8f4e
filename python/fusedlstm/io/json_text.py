"""JSON texts that come from files."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from fusedlstm import limits

__all__ = ["parse"]

# Levels of lists and objects inside of each other: more than any model has, and fewer than recursion bears.
DEPTH = 64
# What a byte of text takes at most once it is an object: "{}," makes an empty dictionary.
_EXPANSION = 24


def parse(text: str | bytes, what: str) -> Any:
    """Return the value of a text.

    Parameters
    ----------
    text : str or bytes
        As it is in a file.
    what : str
        What it is, to begin messages with.

    Raises
    ------
    ValueError
        If it is no JSON, is nested too deeply, names a member twice, or its value would take too much memory.
    """
    limits.claim(_EXPANSION * len(text), what)
    try:
        value = json.loads(text, object_pairs_hook=_unique)
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
