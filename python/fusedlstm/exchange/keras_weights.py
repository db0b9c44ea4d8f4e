"""Weights in the HDF5 files of Keras 3.

A layer's arrays are the datasets ``layers/<class>[_<number>]/vars/<index>``, numbered among the layers of its
class; an LSTM's belong to its cell, ``layers/lstm/cell/vars/<index>``, and those of a layer inside of another
to a group of their own, ``layers/bidirectional/forward_layer/cell/vars/<index>``.
"""

from __future__ import annotations

import io
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.exchange.keras_config import check_in_keras
from fusedlstm.layers import LSTM, Bidirectional, TimeDistributed
from fusedlstm.utils import snake_case
from fusedlstm.versions import of_one_version

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fusedlstm.layers import Layer
    from fusedlstm.model import Sequential
    from fusedlstm.variable import Array, Variable

__all__ = ["read_weights", "write_weights"]


def read_weights(content: bytes, model: Sequential) -> list[Array]:
    """Read the arrays of a built model's weights from the bytes of an HDF5 file.

    Raises
    ------
    ImportError
        When h5py is not installed.
    ValueError
        When the bytes are no complete HDF5 file, a dataset is missing, left over or of another shape or type.
    """
    library = _library()
    try:
        with library.File(io.BytesIO(content), "r") as file:
            return _read(library, file, model)
    except (OSError, RuntimeError, KeyError) as error:
        # What h5py raises for a damaged file depends on the damage.
        raise ValueError(f"expected a complete HDF5 file of weights, found {error}") from error


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
    _list(library, file, ["layers"] if "layers" in file else [], "", names)
    # States of random streams are not weights.
    found = {name for name in names if "/seed_generator/" not in name}
    for name in sorted(found ^ set(wanted)):
        what = "of this model's weights" if name in found else f"{name} of shape {wanted[name]}"
        raise ValueError(f"expected datasets {what}, found {name if name in found else 'none'}")
    return [_array(file[name], name, shape) for name, shape in wanted.items()]


def _list(library: Any, group: Any, keys: Iterable[str], prefix: str, names: list[str]) -> None:
    """Append the names of all datasets at and below some members of a group."""
    for key in keys:
        name = prefix + key
        # A link could lead to another file of this machine, or in a circle.
        if not isinstance(group.get(key, getlink=True), library.HardLink) or name.count("/") > 7:
            raise ValueError(f"expected datasets and groups only, found a link or too deep a group at {name}")
        item = group[key]
        if isinstance(item, library.Group):
            _list(library, item, item, f"{name}/", names)
        else:
            names.append(name)


def _array(dataset: Any, name: str, shape: tuple[int, ...]) -> Array:
    """Read one dataset, after its shape: a small file can announce an array of any size."""
    kind = getattr(dataset, "dtype", None)
    if getattr(dataset, "shape", None) != shape or kind not in (np.float32, np.float64):
        found = f"{getattr(dataset, 'shape', 'no array')} of {kind}"
        raise ValueError(f"expected {name} of shape {shape} in float32 or float64, found {found}")
    if dataset.is_virtual or dataset.external is not None:
        raise ValueError(f"expected {name} in this file, found a reference to another one")
    values: Array = dataset[()]
    return values
