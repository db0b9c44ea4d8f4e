"""Changes to zip archives, with their checksums made anew."""

from __future__ import annotations

import io
import warnings
import zipfile
from typing import TYPE_CHECKING

from tests.fuzz.damage import damaged
from tests.fuzz.hdf5 import changed_hdf5
from tests.fuzz.trees import changed_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

__all__ = ["changed_contents", "changed_members"]


def changed_contents(random: np.random.Generator, content: bytes, corpus: Sequence[bytes]) -> bytes:
    """Change what is in a ``.keras`` file: its description, its weights, or bytes of either."""
    del corpus
    members = _members(content)
    number = int(random.integers(len(members)))
    if random.random() < 0.6:
        number = next(n for n, (name, _) in enumerate(members) if name == "config.json")
    name, inner = members[number]
    if random.random() < 0.1:
        inner = damaged(random, inner, [inner])
    elif name.endswith(".json"):
        inner = changed_text(random, inner.decode()).encode()
    else:
        inner = (damaged if random.random() < 0.3 else changed_hdf5)(random, inner, [inner])
    members[number] = name, inner
    return _archive(random, members)


def changed_members(random: np.random.Generator, content: bytes, corpus: Sequence[bytes]) -> bytes:
    """Change which members there are, and the archive's own records."""
    members = _members(content)
    for _ in range(int(random.integers(1, 3))):
        if members:
            _KINDS[int(random.integers(len(_KINDS)))](random, members)
    content = _archive(random, members)
    return damaged(random, content[-400:], corpus) if random.random() < 0.05 else content


def _members(content: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def _archive(random: np.random.Generator, members: Sequence[tuple[str, bytes]]) -> bytes:
    memory = io.BytesIO()
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    method = methods[int(random.integers(4)) if random.random() < 0.3 else 0]
    if sum(len(inner) for _, inner in members) > 1 << 20:
        method = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(memory, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about names that come twice
        for name, inner in members:
            archive.writestr(name, inner)
    return memory.getvalue()


Members = list[tuple[str, bytes]]


def _drop(random: np.random.Generator, members: Members) -> None:
    del members[int(random.integers(len(members)))]


def _double(random: np.random.Generator, members: Members) -> None:
    members.append(members[int(random.integers(len(members)))])


def _rename(random: np.random.Generator, members: Members) -> None:
    number = int(random.integers(len(members)))
    names = ("x", "../config.json", "config.json", "model.weights.h5", "config.json/", "\u20ac")
    members[number] = names[int(random.integers(len(names)))], members[number][1]


def _swap(random: np.random.Generator, members: Members) -> None:
    one, two = (int(random.integers(len(members))) for _ in range(2))
    members[one], members[two] = (members[one][0], members[two][1]), (members[two][0], members[one][1])


def _empty(random: np.random.Generator, members: Members) -> None:
    number = int(random.integers(len(members)))
    members[number] = members[number][0], b""


def _zeros(random: np.random.Generator, members: Members) -> None:
    """Add bytes that compress to nothing."""
    number = int(random.integers(len(members)))
    members[number] = members[number][0], members[number][1] + bytes(1 << int(random.integers(10, 27)))


_KINDS: tuple[Callable[[np.random.Generator, Members], None], ...] = (
    _drop, _double, _rename, _swap, _empty, _zeros,
)  # fmt: skip
