"""Weights in the HDF5 files of Keras 3.

A layer's arrays are the datasets ``layers/<class>[_<number>]/vars/<index>``, numbered among the layers of its
class. An LSTM's belong to its cell, ``layers/lstm/cell/vars/<index>``, and those of a layer inside of another
to a group of their own, ``layers/bidirectional/forward_layer/cell/vars/<index>``; a model within another is
such a group, ``layers/functional/layers/lstm/cell/vars/<index>``. Layers that are shared are there once.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.base import limits
from fusedlstm.base.names import snake_case
from fusedlstm.base.versions import of_one_version
from fusedlstm.exchange.keras_layers import check_in_keras
from fusedlstm.io.json_text import DEPTH
from fusedlstm.layers import LSTM, Bidirectional, TimeDistributed
from fusedlstm.models.model import Model

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fusedlstm.base.types import Array
    from fusedlstm.base.variable import Variable
    from fusedlstm.layers import Layer

# What h5py raises for a damaged file depends on the damage.
_HDF5_ERRORS = (KeyError, OSError, RuntimeError, TypeError)
# What is kept of a group or a dataset, rounded up for the time that opening takes.
_OBJECT = 2560
# Classes of models have another name there.
_CLASSES_OF_KERAS: Mapping[type, str] = {Model: "Functional"}
# HDF5's classes of types other than floating-point numbers, by their numbers.
_CLASSES = {
    0: "integers",
    2: "times",
    3: "text",
    4: "bit fields",
    5: "opaque bytes",
    6: "compound values, such as complex numbers",
    7: "references",
    8: "an enumeration",
    9: "lists of variable length",
    10: "arrays",
}


class Stored:
    """The datasets at and below ``layers`` in an HDF5 file, by name; made by `opened`.

    They are listed once, but not kept open, and read by HDF5's own functions: those of h5py's classes take
    several times longer.
    """

    def __init__(self, library: Any, file: Any) -> None:
        self._library = library
        self._file = file.id
        self._names: list[str] = []
        self._seen: set[int] = set()
        # How many numbers the datasets can be at most, by the bytes that they have there.
        self.numbers = 0
        if b"layers" in self._file:
            self._list(self._file, [b"layers"], "")

    def read(self, model: Model, names: Mapping[Layer, str] | None = None) -> list[Array]:
        """Read the arrays of a built model's weights.

        Parameters
        ----------
        model : Model
            The model.
        names : mapping of Layer to str, optional
            Names that Keras has for the classes of some layers.

        Raises
        ------
        ValueError
            When a dataset is missing, left over or of another shape or type.
        """
        wanted = {place: variable.shape for place, variable in _places(model, names or {})}
        # States of random streams are not weights.
        found = {name for name in self._names if "/seed_generator/" not in name}
        for name in sorted(found ^ set(wanted)):
            what = "of this model's weights" if name in found else f"{name} of shape {wanted[name]}"
            raise ValueError(f"expected datasets {what}, found {name if name in found else 'none'}")
        with _damage():
            return [self._array(name, shape) for name, shape in wanted.items()]

    def read_optimizer(self, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
        """Read an optimizer's arrays, the first of which is a number of updates.

        Parameters
        ----------
        shapes : list of tuple of int
            Shapes of all.

        Returns
        -------
        list of ndarray
            All; fewer than three where the file has no more, as before the first update, and none at all.

        Raises
        ------
        ValueError
            When there are more or fewer, or arrays of other shapes or types.
        """
        with _damage():
            group: Any = self._file
            for name in (b"optimizer", b"vars"):
                if name not in group:
                    return []
                group = self._opened(group, name, self._library.h5g.GroupID)
            count = group.get_num_objs()
            if count != len(shapes) and not 0 < count <= 2:
                raise ValueError(
                    f"expected {len(shapes)} arrays of the optimizer, as the weights that are trained have, "
                    f"found {count}"
                )
            found = []
            for number, shape in enumerate(shapes[:count]):
                self._opened(group, str(number).encode(), self._library.h5d.DatasetID)
                found.append(self._array(f"optimizer/vars/{number}", shape, integer=number == 0))
            return found

    def _opened(self, group: Any, name: bytes, kind: Any) -> Any:
        """Return a member of a group, which is there itself and is of a kind."""
        if name not in group or group.links.get_info(name).type != self._library.h5l.TYPE_HARD:
            raise ValueError(f"expected arrays of the optimizer by their numbers, found none at {name!r}")
        item = self._library.h5o.open(group, name)
        if not isinstance(item, kind):
            raise ValueError(f"expected arrays of the optimizer in groups, found another thing at {name!r}")
        return item

    def _list(self, group: Any, keys: Sequence[bytes], prefix: str) -> None:
        """Add all datasets at and below some members of a group.

        Everything has one name: groups with several could be listed without end.
        """
        library = self._library
        for key in keys:
            try:
                name = prefix + key.decode()
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"expected names in UTF-8, found {key!r} in {prefix or 'the file'}"
                ) from error
            # A link could lead to another file of this machine, or in a circle.
            link = group.links.get_info(key)
            if link.type != library.h5l.TYPE_HARD:
                raise ValueError(f"expected datasets and groups only, found a link at {name}")
            if name.count("/") > DEPTH:
                raise ValueError(f"expected groups of at most {DEPTH} levels, found more at {name!r:.80}")
            address = link.u
            if address in self._seen:
                raise ValueError(
                    f"expected datasets and groups of one name each, found another name at {name}"
                )
            self._seen.add(address)
            item = library.h5o.open(group, key)
            if isinstance(item, library.h5g.GroupID):
                limits.claim_description(_OBJECT * item.get_num_objs(), "groups and datasets")
                self._list(item, list(item), f"{name}/")
            elif isinstance(item, library.h5d.DatasetID):
                self._names.append(name)
                # A dataset may have any shape and no bytes; and a dtype is made of a type that may be nested
                # so deep that it takes gigabytes.
                if there := int(item.get_storage_size()):
                    self.numbers += there // max(1, item.get_type().get_size())
            else:
                raise ValueError(f"expected datasets and groups only, found a type at {name}")

    def _array(self, name: str, shape: tuple[int, ...], integer: bool = False) -> Array:
        """Read one dataset, after its shape: a small file can announce an array of any size."""
        library = self._library
        dataset = library.h5d.open(self._file, name.encode())
        # Other classes than numbers may be nested so deep that making a dtype of them takes gigabytes.
        of = dataset.get_type().get_class()
        wanted = library.h5t.INTEGER if integer else library.h5t.FLOAT
        kinds = (np.int32, np.int64) if integer else (np.float32, np.float64)
        kind = dataset.dtype if of == wanted else _CLASSES.get(of, "an unknown type")
        if dataset.shape != shape or not isinstance(kind, np.dtype) or kind not in kinds:
            raise ValueError(
                f"expected {name} of shape {shape} in {' or '.join(one.__name__ for one in kinds)}, "
                f"found {dataset.shape} of {kind}"
            )
        properties = dataset.get_create_plist()
        layout = properties.get_layout()
        if layout == library.h5d.VIRTUAL or properties.get_external_count():
            raise ValueError(f"expected {name} in this file, found a reference to another one")
        if properties.get_nfilters():
            # A filter unpacks a piece to whatever size it has, before anybody can look.
            raise ValueError(f"expected {name} as Keras writes it, found it compressed")
        chunk = math.prod(properties.get_chunk()) if layout == library.h5d.CHUNKED else 0
        limits.claim((chunk + math.prod(shape)) * kind.itemsize, name)
        values: Array = np.empty(shape, kind)
        dataset.read(library.h5s.ALL, library.h5s.ALL, values)
        return values


@contextmanager
def opened(content: bytes) -> Iterator[Stored]:
    """Give the weights in the bytes of an HDF5 file.

    Raises
    ------
    ImportError
        When h5py is not installed.
    ValueError
        When the bytes are no complete HDF5 file.
    """
    library = _library()
    limits.claim(2 * len(content), "weights")  # HDF5 has a copy
    with _damage():
        try:
            file = library.File(library.h5f.open_file_image(content))
        except ValueError as error:
            raise ValueError(
                f"expected a complete HDF5 file of weights, found a damaged one: {error}"
            ) from error
    try:
        with _damage():
            stored = Stored(library, file)
        yield stored
    finally:
        with _damage():
            file.close()


@contextmanager
def _damage() -> Iterator[None]:
    """Raise `ValueError` for what h5py raises."""
    try:
        yield
    except _HDF5_ERRORS as error:
        raise ValueError(f"expected a complete HDF5 file of weights, found {error}") from error


@of_one_version
def write_weights(model: Model, optimizer: Sequence[Array] = ()) -> bytes:
    """Return the bytes of an HDF5 file with a built model's weights, and with an optimizer's arrays.

    Raises
    ------
    ImportError
        When h5py is not installed.
    ValueError
        When the model is not built, or a layer has options that Keras does not have.
    """
    if not model.built:
        raise ValueError("model: expected a built model, got one whose weights are not made yet")
    groups = _groups(model, {})
    for layer, _ in groups:
        check_in_keras(layer)
    memory = io.BytesIO()
    with _library().File(memory, "w") as file:
        file.create_group("vars").attrs["name"] = model.name
        for layer, group in groups:
            file.create_group(f"{group}/vars").attrs["name"] = layer.name
            if isinstance(layer, LSTM):
                file.create_group(f"{group}/cell/vars")
        for place, variable in _places(model, {}):
            file[place] = variable.numpy()
        for number, array in enumerate(optimizer):
            file[f"optimizer/vars/{number}"] = array
    return memory.getvalue()


def _library() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ImportError('Keras\'s files need h5py: pip install "fusedlstm[keras]"') from error
    return h5py


def _groups(model: Model, names: Mapping[Layer, str]) -> list[tuple[Layer, str]]:
    """Return all layers, those inside of others after them, with their groups.

    Parameters
    ----------
    model : Model
        The model.
    names : mapping of Layer to str
        Names of classes where Keras has others.
    """
    seen: set[Layer] = set()

    def inside(layer: Layer, group: str) -> Iterator[tuple[Layer, str]]:
        # Keras writes what is shared where it comes to it first.
        if layer in seen:
            return
        seen.add(layer)
        yield layer, group
        yield from within(layer, f"{group}/")

    def within(layer: Layer, group: str) -> Iterator[tuple[Layer, str]]:
        for name, inner in _inner(layer).items():
            yield from inside(inner, group + name)
        if isinstance(layer, Model):
            counts: Counter[str] = Counter()
            for inner in layer.layers:
                name = snake_case(
                    names.get(inner) or _CLASSES_OF_KERAS.get(type(inner)) or type(inner).__name__
                )
                yield from inside(
                    inner, f"{group}layers/{name}_{counts[name]}" if counts[name] else f"{group}layers/{name}"
                )
                counts[name] += 1

    return list(within(model, ""))


def _inner(layer: Layer) -> dict[str, Layer]:
    """Return the layers that hold a layer's weights in its place."""
    if isinstance(layer, Bidirectional):
        return {"forward_layer": layer.forward_layer, "backward_layer": layer.backward_layer}
    return {"layer": layer.layer} if isinstance(layer, TimeDistributed) else {}


def _places(model: Model, names: Mapping[Layer, str]) -> list[tuple[str, Variable]]:
    """Return the weights in the model's order, with the datasets' names; parameters as of `_groups`."""
    return [
        (f"{group}/cell/vars/{number}" if isinstance(layer, LSTM) else f"{group}/vars/{number}", variable)
        for layer, group in _groups(model, names)
        for number, variable in enumerate(() if _inner(layer) or isinstance(layer, Model) else layer.weights)
    ]
