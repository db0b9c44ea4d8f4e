"""Automatic names of layers and models."""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_names: defaultdict[str, Iterator[int]] = defaultdict(count)


def snake_case(name: str) -> str:
    """Return a class's name as Keras writes it: ``time_distributed``, ``global_max_pooling1d``."""
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def name_of(function: object) -> str:
    """Return a function's name as Keras writes it, its class's where it has none."""
    inner = getattr(function, "func", function)  # of a functools.partial
    return snake_case(re.sub(r"\W+", "", getattr(inner, "__name__", type(inner).__name__)))


def checked_name(name: object) -> str:
    """Return a name that files can hold; `ValueError` if it is not one."""
    good = isinstance(name, str) and name and "\0" not in name
    # Surrogates have no UTF-8.
    if not good or any("\ud800" <= letter <= "\udfff" for letter in str(name)):
        raise ValueError(f"name: expected a non-empty string without NUL and surrogates, got {name!r:.80}")
    return str(name)


def auto_name(cls: type | str) -> str:
    """Return Keras's automatic name of an object of a class, or of one so named: ``lstm``, ``lstm_1``."""
    base = snake_case(cls if isinstance(cls, str) else cls.__name__)
    number = next(_names[base])
    return f"{base}_{number}" if number else base


def different(names: Sequence[str]) -> list[str]:
    """Return names with numbers behind those that occur again, as of a layer that returns its states."""
    found: list[str] = []
    for name in names:
        others = {*names, *found}
        again = (f"{name}_{number}" for number in count(1) if f"{name}_{number}" not in others)
        found.append(next(again) if name in found else name)
    return found


def clear_session() -> None:
    """Start the automatic names again from the first one."""
    _names.clear()
