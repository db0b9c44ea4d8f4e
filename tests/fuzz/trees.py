"""Changes to JSON-able trees, such as descriptions: values and types replaced, members moved about."""

from __future__ import annotations

import copy
import json
import math
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np

__all__ = ["changed_text", "changed_tree"]

Tree: TypeAlias = Any

# Values of other types, and of the same one at its edges.
_VALUES: tuple[Tree, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 0.5, -0.0, 1e-300, 1e300, math.inf, -math.inf, math.nan,
    2**31, 2**32, 2**62, 2**63, 2**64, 10**14, 10**30, 10**400, -(10**30), 100_000, 8_000,
    "", "x", "0", "None", "float64", "softmax", "l2", "orthogonal", "\0", "\ud800", "a/b", "x" * 300,
    [], [0], [None], [[]], [-1], [1, 2], [None, None, 3], [10**9, 10**9, 10**9], [2**62] * 3, {}, {"": 0},
    {"class_name": "L2", "config": {}}, {"class_name": "LSTM", "config": {"units": 3}},
    {"class_name": "Orthogonal", "config": {"gain": 1e308}}, {"class_name": [], "config": []},
)  # fmt: skip


def changed_tree(random: np.random.Generator, tree: Tree) -> Tree:
    """Return a tree with up to three places changed."""
    tree = copy.deepcopy(tree)
    for _ in range(int(random.integers(1, 4))):
        places = _places(tree)
        if not places:
            break
        parent, key = places[int(random.integers(len(places)))]
        _KINDS[int(random.integers(len(_KINDS)))](random, parent, key, places)
    return tree


def changed_text(random: np.random.Generator, text: str) -> str:
    """Return JSON text with places changed; of text that is not JSON, a piece."""
    if random.random() < 0.05:
        # Nesting deeper than any reader goes.
        depth = int(random.integers(50, 5000))
        return (
            text[: int(random.integers(len(text) + 1))] + ("[" if random.random() < 0.5 else '{"a":') * depth
        )
    try:
        tree = json.loads(text)
    except ValueError:
        return text[: int(random.integers(len(text) + 1))]
    holder = {"root": tree}
    return json.dumps(changed_tree(random, holder if random.random() < 0.02 else tree))


def _places(tree: Tree) -> list[tuple[Any, Any]]:
    """Return all pairs of a list or dictionary and a key in it."""
    result: list[tuple[Any, Any]] = []
    left = [tree]
    while left:
        item = left.pop()
        keys = list(item) if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else ()
        result += [(item, key) for key in keys]
        left += [item[key] for key in keys]
    return result


def _replace(random: np.random.Generator, parent: Any, key: Any, places: Any) -> None:
    del places
    parent[key] = copy.deepcopy(_VALUES[int(random.integers(len(_VALUES)))])


def _remove(random: np.random.Generator, parent: Any, key: Any, places: Any) -> None:
    del random, places
    del parent[key]


def _swap(random: np.random.Generator, parent: Any, key: Any, places: Any) -> None:
    other, name = places[int(random.integers(len(places)))]
    parent[key] = copy.deepcopy(other[name])


def _rename(random: np.random.Generator, parent: Any, key: Any, places: Any) -> None:
    if isinstance(parent, dict):
        names = [str(name) for _, name in places]
        parent[names[int(random.integers(len(names)))] + ("" if random.random() < 0.5 else "_")] = parent.pop(
            key
        )


def _wrap(random: np.random.Generator, parent: Any, key: Any, places: Any) -> None:
    del places
    parent[key] = [parent[key]] if random.random() < 0.5 else {str(key): parent[key]}


def _duplicate(random: np.random.Generator, parent: Any, key: Any, places: Any) -> None:
    del places
    if isinstance(parent, list):
        parent[key:key] = [copy.deepcopy(parent[key]) for _ in range(int(random.integers(1, 4)))]


def _scale(random: np.random.Generator, parent: Any, key: Any, places: Any) -> None:
    del places
    if isinstance(parent[key], int | float) and not isinstance(parent[key], bool):
        factors = (-1, 0, 2, 1000, 10**6, 0.5, 10**19)
        parent[key] = parent[key] * factors[int(random.integers(len(factors)))]


_KINDS = (_replace, _replace, _replace, _remove, _swap, _rename, _wrap, _duplicate, _scale)
