"""ONNX files: read, and checked before anything is made of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fusedlstm.base import checks, limits
from fusedlstm.exchange.onnx.contrib import BYTES, check_quantized, is_quantized, stand_ins
from fusedlstm.exchange.onnx.wire import claim_messages

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

Array = npt.NDArray[Any]  # of a type in DTYPES

# A tensor's objects, beside its numbers.
_TENSOR = 512
# The only attributes whose lists are longer than an array has axes.
_LONG = {"value_floats", "value_ints"}
# Which inputs of operators are lists of axes or of their sizes.
_LISTS = {
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "ReduceMax": (1,),
    "ReduceMean": (1,),
    "ReduceSum": (1,),
    "Reshape": (1,),
    "Slice": (1, 2, 3, 4),
    "Squeeze": (1,),
    "Tile": (1,),
    "Unsqueeze": (1,),
}
# The versions of the standard operators that are known here.
OPSETS = range(7, 29)
# Element types by their numbers in ONNX.
DTYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype(np.float32),
    6: np.dtype(np.int32),
    7: np.dtype(np.int64),
    9: np.dtype(np.bool_),
    10: np.dtype(np.float16),
    11: np.dtype(np.float64),
}
INITIALIZERS = {**DTYPES, **BYTES}


def import_onnx(function: str) -> Any:
    """Return the module onnx; `ImportError` with what to install if it is not there."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError(f'{function} needs onnx: pip install "fusedlstm[onnx]"') from error
    return onnx


def read_file(content: bytes, path: str | os.PathLike[str], operators: set[str]) -> tuple[Any, int, int]:
    """Parse and check a file.

    Parameters
    ----------
    content : bytes
        The file's.
    path : path-like
        Where it is: tensors may lie in other files of its folder.
    operators : set of str
        The standard operators that the graph may have.

    Returns
    -------
    model : onnx.ModelProto
        With the tensors of external files inside.
    opset : int
        The version of the standard operators.
    size : int
        Of the file and all that it names.

    Raises
    ------
    OSError
        If a file that it names cannot be read.
    ValueError
        If it is no ONNX file, is damaged, or has something that is not known here.
    """
    onnx = import_onnx("from_onnx")
    from google.protobuf.message import DecodeError

    limits.claim(3 * len(content), "graph")  # the messages, and what the checker makes of them
    claim_messages(content, onnx.ModelProto.DESCRIPTOR)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise ValueError(f"expected a complete ONNX file: {error}") from error
    if not model.graph.node or not model.graph.output:
        raise ValueError("expected a complete ONNX file, got one without a graph of nodes and outputs")
    opset = _opset(model)
    if model.functions:
        raise ValueError(f"expected standard operators only, got the function {model.functions[0].name!r}")
    graphs = _graphs(model.graph)
    if any(graph.sparse_initializer for graph in graphs):
        raise ValueError("expected dense tensors only, got a sparse initializer")
    for number, node in ((number, node) for graph in graphs for number, node in enumerate(graph.node)):
        _check_attributes(node, number, onnx)
        standard = node.domain in ("", "ai.onnx") and node.op_type in operators
        if not standard and not is_quantized(node):
            domain = f" of {node.domain!r}" if node.domain else ""
            raise ValueError(
                f"node {number} {node.name!r}: the operator {node.op_type!r}{domain} is not supported"
            )
    check_quantized(model, graphs)
    others: dict[Path, int] = {}
    for tensor in _tensors(graphs):
        checks.few_axes(tensor.dims, f"tensor {tensor.name!r:.80}")
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _bring_in(tensor, Path(path).parent, onnx, others)
    _check_lists(graphs)
    # Nothing here needs shapes between nodes, and PyTorch writes wrong ones for outputs that nobody reads.
    for graph in graphs:
        del graph.value_info[:]
    # The checker's inference of shapes ends the process where it cuts a negative axis.
    for value in (info for g in graphs for info in (*g.input, *g.output)):
        axes = value.type.tensor_type.shape.dim
        checks.few_axes(axes, f"{value.name!r:.80}")
        if any(axis.dim_value < 0 for axis in axes):
            raise ValueError(f"{value.name!r:.80}: expected axes of known or named length, got a negative")
    try:
        with stand_ins(graphs):
            onnx.checker.check_model(model, full_check=True)
    except (
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
        ValueError,
        RuntimeError,
    ) as error:
        raise ValueError(f"expected a valid ONNX graph: {error}") from error
    return model, opset, len(content) + sum(others.values())


def _check_attributes(node: Any, number: int, onnx: Any) -> None:
    """Refuse attributes that are not numbers, texts or a tensor, or the branches of an If node."""
    kinds = onnx.AttributeProto
    known = (kinds.FLOAT, kinds.INT, kinds.STRING, kinds.TENSOR, kinds.FLOATS, kinds.INTS, kinds.STRINGS)
    for attribute in node.attribute:
        if _is_branch(node, attribute) and attribute.type == kinds.GRAPH:
            continue
        if attribute.type not in known or attribute.HasField("g") or attribute.graphs:
            raise ValueError(
                f"node {number} {node.name!r:.80}: attribute {attribute.name!r:.80}: expected numbers, "
                "texts or a tensor, got something else"
            )
        if attribute.name not in _LONG:
            for items in (attribute.floats, attribute.ints, attribute.strings):
                checks.few_axes(items, f"node {number} {node.name!r:.80}: {attribute.name!r:.80}")


def _check_lists(graphs: list[Any]) -> None:
    """Refuse constant lists of very many axes: the checker makes a message of each."""
    # Names of a graph are not used again in its branches.
    nodes = [node for graph in graphs for node in graph.node]
    counts = {tensor.name: _count(tensor) for graph in graphs for tensor in graph.initializer}
    for node in nodes:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                size = max(len(attribute.ints), _count(attribute.t))
                counts.update(dict.fromkeys(node.output, size))
    for number, node in enumerate(nodes):
        for place in _LISTS.get(node.op_type, ()):
            count = counts.get(node.input[place], 0) if place < len(node.input) else 0
            if count > checks.MOST_AXES:
                raise ValueError(
                    f"node {number} {node.name!r:.80} ({node.op_type}): expected at most "
                    f"{checks.MOST_AXES} axes, got {count}"
                )


def _count(tensor: Any) -> int:
    """Return how many integers a tensor holds, or says that it does."""
    declared: int = math.prod(tensor.dims)
    return max(declared, len(tensor.int64_data), len(tensor.raw_data) // 8)


def _is_branch(node: Any, attribute: Any) -> bool:
    return node.op_type == "If" and attribute.name in ("then_branch", "else_branch")


def _graphs(graph: Any) -> list[Any]:
    """Return a graph and those of all branches in it."""
    inner = [
        attribute.g for node in graph.node for attribute in node.attribute if _is_branch(node, attribute)
    ]
    return [graph, *(one for each in inner for one in _graphs(each))]


def array_of(tensor: Any, types: Mapping[int, np.dtype[Any]] = DTYPES) -> Array:
    """Return a tensor of one of some types as an array; `ValueError` if its type or its size is another."""
    from onnx import numpy_helper

    if tensor.data_type not in types:
        raise ValueError(
            f"tensor {tensor.name!r}: expected element types {', '.join(map(str, types.values()))}, "
            f"got ONNX's type {tensor.data_type}"
        )
    dtype = types[tensor.data_type]
    checks.few_axes(tensor.dims, f"tensor {tensor.name!r:.80}")
    if min(tensor.dims, default=0) < 0:
        raise ValueError(f"tensor {tensor.name!r}: expected sizes >= 0, got {tuple(tensor.dims)!r:.80}")
    size = math.prod(tensor.dims) * dtype.itemsize
    if tensor.HasField("raw_data") and len(tensor.raw_data) != size:
        raise ValueError(
            f"tensor {tensor.name!r}: expected {size} bytes for shape {tuple(tensor.dims)}, "
            f"got {len(tensor.raw_data)}"
        )
    limits.claim_description(_TENSOR, f"tensor {tensor.name!r:.80}")
    limits.claim(size, f"tensor {tensor.name!r:.80}")
    try:
        array: Array = numpy_helper.to_array(tensor)
    except (TypeError, ValueError) as error:
        raise ValueError(f"tensor {tensor.name!r}: {error}") from error
    if array.shape != tuple(tensor.dims) or array.dtype != dtype:
        raise ValueError(f"tensor {tensor.name!r}: expected shape {tuple(tensor.dims)}, got {array.shape}")
    return array


def _opset(model: Any) -> int:
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if len(versions) != 1 or versions[0] not in OPSETS:
        raise ValueError(
            f"opset_import: expected one version of the standard operators from {OPSETS[0]} to {OPSETS[-1]}, "
            f"got {versions}"
        )
    return int(versions[0])


def _tensors(graphs: list[Any]) -> list[Any]:
    """Return all tensors of the graphs: initializers and those of attributes."""
    nodes = [node for graph in graphs for node in graph.node]
    constants = [attribute.t for node in nodes for attribute in node.attribute if attribute.HasField("t")]
    return [*(tensor for graph in graphs for tensor in graph.initializer), *constants]


def _bring_in(tensor: Any, folder: Path, onnx: Any, others: dict[Path, int]) -> None:
    """Put an external tensor's bytes, of a file in the model's folder, into the tensor."""
    where = f"tensor {tensor.name!r}"
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    inside = folder.resolve()
    try:
        file = (inside / location).resolve()
    except RuntimeError as error:  # of links in a circle
        raise ValueError(f"{where}: {error}") from error
    # A link could lead out as well as a name.
    if not location or Path(location).is_absolute() or not file.is_relative_to(inside) or not file.is_file():
        raise ValueError(f"{where}: expected its data in a file of the model's folder, got {location!r}")
    if tensor.data_type not in INITIALIZERS or min(tensor.dims, default=0) < 0:
        raise ValueError(
            f"{where}: expected a known element type and shape, got ONNX's type {tensor.data_type} and "
            f"{tuple(tensor.dims)}"
        )
    size = math.prod(tensor.dims) * INITIALIZERS[tensor.data_type].itemsize
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", size))
    except ValueError as error:
        raise ValueError(f"{where}: expected offset and length to be integers: {error}") from error
    if offset < 0 or length != size or offset + length > file.stat().st_size:
        raise ValueError(
            f"{where}: expected {size} bytes in {location!r}, got offset {offset} and length {length} "
            f"in a file of {file.stat().st_size}"
        )
    if file not in others:
        others[file] = file.stat().st_size
        limits.grant(others[file])
    limits.claim(2 * length, where)
    with file.open("rb") as stream:
        stream.seek(offset)
        tensor.raw_data = stream.read(length)
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]
