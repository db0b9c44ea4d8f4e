"""Changes to HDF5 files of weights, written anew by the library."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["changed_hdf5"]


def changed_hdf5(random: np.random.Generator, content: bytes, corpus: Sequence[bytes]) -> bytes:
    """Return a file with up to three of its members changed, added or removed."""
    del corpus
    import h5py

    memory = io.BytesIO(content)
    with h5py.File(memory, "r+") as file:
        for _ in range(int(random.integers(1, 4))):
            names: list[str] = []
            file.visit(names.append)
            if not names:
                break
            name = names[int(random.integers(len(names)))]
            with contextlib.suppress(ValueError):  # of a change that the library does not make
                _KINDS[int(random.integers(len(_KINDS)))](random, h5py, file, name)
    return memory.getvalue()


def _remove(random: np.random.Generator, library: Any, file: Any, name: str) -> None:
    del random, library
    del file[name]


def _rename(random: np.random.Generator, library: Any, file: Any, name: str) -> None:
    del library
    file.move(name, f"{name}_{random.integers(3)}")


def _add(random: np.random.Generator, library: Any, file: Any, name: str) -> None:
    del library
    place = name if hasattr(file[name], "keys") else name.rpartition("/")[0]
    file[f"{place}/more{random.integers(1000)}"] = random.standard_normal(3)


def _retype(random: np.random.Generator, library: Any, file: Any, name: str) -> None:
    kinds: tuple[Any, ...] = (
        "f2", "f4", "f8", ">f4", ">f8", "i1", "i8", "u4", "c8", "S3", "bool", library.string_dtype(),
        np.dtype([("a", "f4"), ("b", "i2")]), library.vlen_dtype(np.float32), library.enum_dtype({"A": 1}),
        np.dtype(("f4", (3,))), library.ref_dtype, np.dtype("V7"), library.opaque_dtype(np.dtype("M8[s]")),
    )  # fmt: skip
    shape = getattr(file[name], "shape", (2,)) or ()
    del file[name]
    file.create_dataset(name, shape, kinds[int(random.integers(len(kinds)))])


def _reshape(random: np.random.Generator, library: Any, file: Any, name: str) -> None:
    item = file[name]
    shape = list(getattr(item, "shape", None) or (2, 2))
    if shape and random.random() < 0.7:
        axis = int(random.integers(len(shape)))
        shape[axis] = int(
            (0, 1, shape[axis] + 1, 4 * shape[axis], 10**6, 2**31, 2**40)[int(random.integers(7))]
        )
    else:
        shape = [1, *shape] if random.random() < 0.5 else shape[::-1]
    del file[name]
    if random.random() < 0.2:
        file[name] = library.Empty("f4")
    elif random.random() < 0.5 or any(size > 10**4 for size in shape):
        # Chunked and never written: large, without a byte in the file.
        chunks = tuple(max(1, min(size, 8)) for size in shape) or None
        file.create_dataset(name, shape, "f4", chunks=chunks, fillvalue=1)
    else:
        file.create_dataset(name, data=np.ones(shape, np.float32))


def _compress(random: np.random.Generator, library: Any, file: Any, name: str) -> None:
    del library
    item = file[name]
    if not getattr(item, "shape", ()) or item.size > 10**6:
        return
    data = item[()] if random.random() < 0.5 else np.zeros(item.shape, np.float32)
    del file[name]
    options: dict[str, Any] = {
        "chunks": True,
        "shuffle": random.random() < 0.5,
        "fletcher32": random.random() < 0.5,
    }
    file.create_dataset(name, data=data, compression=("gzip", "lzf")[int(random.integers(2))], **options)


def _link(random: np.random.Generator, library: Any, file: Any, name: str) -> None:
    targets = (
        library.SoftLink("/layers"), library.SoftLink("/nowhere"), library.SoftLink(f"/{name}"),
        library.ExternalLink("/etc/passwd", "/"), library.ExternalLink("other.h5", "/layers"),
        file["/"], file[name.split("/")[0]],
    )  # fmt: skip
    target = targets[int(random.integers(len(targets)))]
    if random.random() < 0.5:
        del file[name]
        file[name] = target
    elif hasattr(file.get(name), "keys"):
        file[f"{name}/link"] = target


def _elsewhere(random: np.random.Generator, library: Any, file: Any, name: str) -> None:
    """Put the values into another file, or nowhere."""
    shape = getattr(file[name], "shape", (2, 2)) or (1,)
    del file[name]
    if random.random() < 0.5:
        file.create_dataset(name, shape, "f4", external=[("/etc/passwd", 0, library.h5f.UNLIMITED)])
    else:
        layout = library.VirtualLayout(shape, "f4")
        layout[...] = library.VirtualSource("." if random.random() < 0.5 else "/etc/passwd", "x", shape)
        file.create_virtual_dataset(name, layout)


_KINDS = (_remove, _rename, _add, _retype, _reshape, _reshape, _compress, _link, _elsewhere)
