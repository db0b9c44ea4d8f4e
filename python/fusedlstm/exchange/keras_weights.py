"""Weights in the HDF5 files of Keras 3.

A layer's arrays are the datasets ``layers/<class>[_<number>]/vars/<index>``, numbered among the layers of its
class; an LSTM's belong to its cell, ``layers/lstm/cell/vars/<index>``, and those of a layer inside of another
to a group of their own, ``layers/bidirectional/forward_layer/cell/vars/<index>``.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import limits
from fusedlstm.exchange.keras_config import check_in_keras
from fusedlstm.layers import LSTM, Bidirectional, TimeDistributed
from fusedlstm.utils import snake_case
from fusedlstm.versions import of_one_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fusedlstm.layers import Layer
    from fusedlstm.model import Sequential
    from fusedlstm.variable import Array, Variable

__all__ = ["read_weights", "stored_numbers", "write_weights"]

# What h5py raises for a damaged file depends on the damage.
_HDF5_ERRORS = (KeyError, OSError, RuntimeError, TypeError)


def read_weights(content: bytes, model: Sequential) -> list[Array]:
    """Read the arrays of a built model's weights from the bytes of an HDF5 file.

    Raises
    ------
    ImportError
        When h5py is not installed.
    ValueError
        When the bytes are no complete HDF5 file, a dataset is missing, left over or of another shape or type.
    """
    with _opened(content) as file:
        return _read(_library(), file, model)


def stored_numbers(content: bytes) -> int:
    """Return how many numbers the weights in an HDF5 file can be at most, by the bytes that they have there.

    Raises
    ------
    ImportError
        When h5py is not installed.
    ValueError
        When the bytes are no complete HDF5 file.
    """
    library = _library()
    total = 0
    with _opened(content) as file:
        names: list[str] = []
        _list(library, file, ["layers"] if "layers" in file else [], "", names, set())
        for name in names:
            stored = file[name]
            # A dataset may have any shape and no bytes; and a dtype is made of a type that may be nested so
            # deep that it takes gigabytes.
            if isinstance(stored, library.Dataset) and (there := int(stored.id.get_storage_size())):
                total += there // max(1, stored.id.get_type().get_size())
    return total


@of_one_version
def write_weights(model: Sequential) -> bytes:
    """Return the bytes of an HDF5 file with a built model's weights.

    Raises
    ------
    ImportError
        When h5py is not installed.
    ValueError
        When the model is not built, or a layer has options that Keras does not have.
    """
    if not model.built:
        raise ValueError("model: expected a built model, got one whose weights are not made yet")
    for layer in model.layers:
        check_in_keras(layer)
    memory = io.BytesIO()
    with _library().File(memory, "w") as file:
        file.create_group("vars").attrs["name"] = model.name
        for layer, group in _groups(model):
            file.create_group(f"{group}/vars").attrs["name"] = layer.name
            if isinstance(layer, LSTM):
                file.create_group(f"{group}/cell/vars")
        for place, variable in _places(model):
            file[place] = variable.numpy()
    return memory.getvalue()


@contextmanager
def _opened(content: bytes) -> Iterator[Any]:
    library = _library()
    limits.claim(2 * len(content), "weights")  # HDF5 has a copy
    try:
        try:
            file = library.File(library.h5f.open_file_image(content))
        except ValueError as error:
            raise ValueError(
                f"expected a complete HDF5 file of weights, found a damaged one: {error}"
            ) from error
        with file:
            yield file
    except _HDF5_ERRORS as error:
        raise ValueError(f"expected a complete HDF5 file of weights, found {error}") from error


def _library() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ImportError('Keras\'s files need h5py: pip install "fusedlstm[keras]"') from error
    return h5py


def _groups(model: Sequential) -> list[tuple[Layer, str]]:
    """Return all layers, those inside of others after them, with their groups."""
    seen: Counter[str] = Counter()
    result = []
    for layer in model.layers:
        name = snake_case(type(layer).__name__)
        result += _with_inner(layer, f"layers/{name}_{seen[name]}" if seen[name] else f"layers/{name}")
        seen[name] += 1
    return result


def _with_inner(layer: Layer, group: str) -> list[tuple[Layer, str]]:
    result = [(layer, group)]
    for name, inner in _inner(layer).items():
        result += _with_inner(inner, f"{group}/{name}")
    return result


def _inner(layer: Layer) -> dict[str, Layer]:
    """Return the layers that hold a layer's weights in its place."""
    if isinstance(layer, Bidirectional):
        return {"forward_layer": layer.forward_layer, "backward_layer": layer.backward_layer}
    return {"layer": layer.layer} if isinstance(layer, TimeDistributed) else {}


def _places(model: Sequential) -> list[tuple[str, Variable]]:
    """Return the weights in the model's order, with the datasets' names."""
    return [
        (f"{group}/cell/vars/{number}" if isinstance(layer, LSTM) else f"{group}/vars/{number}", variable)
        for layer, group in _groups(model)
        for number, variable in enumerate(() if _inner(layer) else layer.weights)
    ]


def _read(library: Any, file: Any, model: Sequential) -> list[Array]:
    wanted = {place: variable.shape for place, variable in _places(model)}
    names: list[str] = []
    _list(library, file, ["layers"] if "layers" in file else [], "", names, set())
    # States of random streams are not weights.
    found = {name for name in names if "/seed_generator/" not in name}
    for name in sorted(found ^ set(wanted)):
        what = "of this model's weights" if name in found else f"{name} of shape {wanted[name]}"
        raise ValueError(f"expected datasets {what}, found {name if name in found else 'none'}")
    return [_array(file[name], name, shape) for name, shape in wanted.items()]


def _list(
    library: Any, group: Any, keys: Iterable[str], prefix: str, names: list[str], seen: set[int]
) -> None:
    """Append the names of all datasets at and below some members of a group.

    Everything has one name: groups with several could be listed without end.
    """
    for key in keys:
        if not isinstance(key, str):  # bytes that are no UTF-8
            raise ValueError(f"expected names in UTF-8, found {key!r} in {prefix or 'the file'}")
        name = prefix + key
        limits.claim(limits.OBJECT, "weights")
        # A link could lead to another file of this machine, or in a circle.
        if not isinstance(group.get(key, getlink=True), library.HardLink) or name.count("/") > 7:
            raise ValueError(f"expected datasets and groups only, found a link or too deep a group at {name}")
        item = group[key]
        address = library.h5o.get_info(item.id).addr
        if address in seen:
            raise ValueError(f"expected datasets and groups of one name each, found another name at {name}")
        seen.add(address)
        if isinstance(item, library.Group):
            _list(library, item, item, f"{name}/", names, seen)
        else:
            names.append(name)


def _array(dataset: Any, name: str, shape: tuple[int, ...]) -> Array:
    """Read one dataset, after its shape: a small file can announce an array of any size."""
    library = _library()
    # Other classes than numbers may be nested so deep that making a dtype of them takes gigabytes.
    number = isinstance(dataset, library.Dataset) and dataset.id.get_type().get_class() == library.h5t.FLOAT
    kind = dataset.dtype if number else None
    if getattr(dataset, "shape", None) != shape or kind not in (np.float32, np.float64):
        found = f"{getattr(dataset, 'shape', 'no array')} of {kind}"
        raise ValueError(f"expected {name} of shape {shape} in float32 or float64, found {found}")
    if dataset.is_virtual or dataset.external is not None:
        raise ValueError(f"expected {name} in this file, found a reference to another one")
    if dataset.id.get_create_plist().get_nfilters():
        # A filter unpacks a piece to whatever size it has, before anybody can look.
        raise ValueError(f"expected {name} as Keras writes it, found it compressed")
    limits.claim(math.prod(dataset.chunks or (0,)) * dataset.dtype.itemsize + dataset.nbytes, name)
    values: Array = dataset[()]
    return values
