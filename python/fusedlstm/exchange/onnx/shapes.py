"""ONNX's operators that make, shape, cut and join tensors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fusedlstm.exchange.onnx.file import DTYPES, Array, array_of
from fusedlstm.exchange.onnx.inputs import Inputs, Operator, axes_of, axis_of, integers, optional, required


def _squeeze(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
    (x,) = required(inputs, 1)
    axes = axes_of(inputs, attributes, opset, 13)
    return [np.squeeze(x, None if axes is None else tuple(axes))]


def _unsqueeze(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
    (x,) = required(inputs, 1)
    axes = axes_of(inputs, attributes, opset, 13)
    return [np.expand_dims(x, tuple(axes or ()))]


def _transpose(inputs: Inputs, attributes: dict[str, Any], _opset: int) -> list[Array]:
    (x,) = required(inputs, 1)
    return [np.transpose(x, attributes.get("perm"))]


def _reshape(inputs: Inputs, attributes: dict[str, Any], _opset: int) -> list[Array]:
    x, wanted = required(inputs, 2)
    shape = integers(wanted, "shape")
    if not attributes.get("allowzero", 0):
        if any(size == 0 and axis >= x.ndim for axis, size in enumerate(shape)):
            raise ValueError(f"shape: expected no 0 beyond the {x.ndim} axes of the input, got {shape}")
        shape = [x.shape[axis] if size == 0 else size for axis, size in enumerate(shape)]
    if any(size < -1 for size in shape):
        raise ValueError(f"shape: expected sizes of at least -1, got {shape}")
    return [x.reshape(shape)]


def _flatten(inputs: Inputs, attributes: dict[str, Any], _opset: int) -> list[Array]:
    (x,) = required(inputs, 1)
    axis = axis_of(attributes.get("axis", 1), x.ndim)
    return [x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))]


def _gather(inputs: Inputs, attributes: dict[str, Any], _opset: int) -> list[Array]:
    x, indices = required(inputs, 2)
    if indices.dtype.kind != "i":
        raise ValueError(f"indices: expected integers, got {indices.dtype}")
    return [np.asarray(np.take(x, indices, axis=attributes.get("axis", 0)))]


def _slice(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
    (x,) = required(inputs, 1)
    names = ("starts", "ends", "axes", "steps")
    if opset < 10:
        given = [attributes.get(name) for name in names]
    else:
        arrays = [optional(inputs, number + 1) for number in range(4)]
        given = [None if a is None else integers(a, name) for a, name in zip(arrays, names, strict=True)]
    starts, ends, axes, steps = given
    if starts is None or ends is None:
        raise ValueError("expected starts and ends, got none")
    axes = range(len(starts)) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    where = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if not -x.ndim <= axis < x.ndim:
            raise ValueError(f"axes: expected axes of a tensor with {x.ndim}, got {axis}")
        where[axis] = slice(start, end, step)
    return [x[tuple(where)]]


def _concat(inputs: Inputs, attributes: dict[str, Any], _opset: int) -> list[Array]:
    arrays = required(inputs, len(inputs))
    if len({array.dtype for array in arrays}) != 1:
        raise ValueError(f"expected inputs of one type, got {[str(array.dtype) for array in arrays]}")
    return [np.concatenate(arrays, axis=attributes["axis"])]


def split_sizes(length: int, sizes: list[int] | None, count: int, opset: int) -> list[int]:
    """Return the lengths of an axis's parts: those that a Split node has, or equal ones as it has outputs."""
    if sizes is None:
        each = -(-length // count)
        if (opset < 18 and each * count != length) or each * (count - 1) > length:
            raise ValueError(f"split: expected {count} parts of an axis of their size, got {length}")
        sizes = [each] * (count - 1) + [length - each * (count - 1)]
    if min(sizes, default=-1) < 0 or sum(sizes) != length or len(sizes) != count:
        raise ValueError(f"split: expected {count} sizes that add up to {length}, got {sizes}")
    return sizes


def _split(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
    (x,) = required(inputs, 1)
    axis = attributes.get("axis", 0)
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"axis: expected one of a tensor with {x.ndim} axes, got {axis}")
    given = optional(inputs, 1)
    sizes = attributes.get("split") if opset < 13 else None if given is None else integers(given, "split")
    sizes = split_sizes(x.shape[axis], sizes, attributes["num_outputs"], opset)
    return np.split(x, np.cumsum(sizes)[:-1], axis=axis)


def _tile(inputs: Inputs, _attributes: dict[str, Any], _opset: int) -> list[Array]:
    x, repeats = required(inputs, 2)
    times = integers(repeats, "repeats")
    if len(times) != x.ndim or min(times, default=0) < 0:
        raise ValueError(f"repeats: expected a number for each of {x.ndim} axes, got {times}")
    return [np.tile(x, times)]


def _shape(inputs: Inputs, attributes: dict[str, Any], _opset: int) -> list[Array]:
    (x,) = required(inputs, 1)
    return [np.asarray(x.shape[attributes.get("start", 0) : attributes.get("end")], np.int64)]


def _constant_of_shape(inputs: Inputs, attributes: dict[str, Any], _opset: int) -> list[Array]:
    (shape,) = required(inputs, 1)
    tensor = attributes.get("value")
    value = np.zeros(1, np.float32) if tensor is None else array_of(tensor)
    if value.size != 1:
        raise ValueError(f"value: expected one number, got shape {value.shape}")
    return [np.full(integers(shape, "shape"), value.reshape(()), value.dtype)]


def _expand(inputs: Inputs, _attributes: dict[str, Any], _opset: int) -> list[Array]:
    x, shape = required(inputs, 2)
    return [np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(integers(shape, "shape"))))]


def _cast(inputs: Inputs, attributes: dict[str, Any], _opset: int) -> list[Array]:
    (x,) = required(inputs, 1)
    if attributes["to"] not in DTYPES:
        raise ValueError(
            f"to: expected one of {', '.join(map(str, DTYPES.values()))}, got ONNX's type {attributes['to']}"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        return [x.astype(DTYPES[attributes["to"]])]


def _constant(_inputs: Inputs, attributes: dict[str, Any], _opset: int) -> list[Array]:
    kinds = {
        "value_float": np.float32,
        "value_floats": np.float32,
        "value_int": np.int64,
        "value_ints": np.int64,
    }
    ((name, value),) = attributes.items()
    if name == "value":
        return [array_of(value)]
    if name not in kinds:
        raise ValueError(f"expected a tensor, a number or numbers, got {name}")
    return [np.asarray(value, kinds[name])]


SHAPES: dict[str, Operator] = {
    "Cast": _cast,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
