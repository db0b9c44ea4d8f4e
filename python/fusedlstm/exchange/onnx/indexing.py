"""ONNX's operators that make indices, or choose elements by them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.exchange.onnx.inputs import Inputs, Operator, integers, required

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusedlstm.exchange.onnx.file import Array


def counted(inputs: Inputs) -> tuple[Array, int, Array]:
    """Return the first number of a Range, how many there are, and what each is more than the one before."""
    start, limit, delta = required(inputs, 3)
    if len({one.dtype for one in (start, limit, delta)}) != 1 or start.dtype == np.bool_:
        raise ValueError(f"expected numbers of one type, got {start.dtype}, {limit.dtype} and {delta.dtype}")
    first, end, by = (one.reshape(()).item() for one in (start, limit, delta))
    if by == 0 or not all(map(math.isfinite, (first, end, by))):
        raise ValueError(f"expected finite numbers and a step that is not 0, got {first}, {end} and {by}")
    count = math.ceil((end - first) / by) if start.dtype.kind == "f" else -((first - end) // by)
    return start.reshape(()), max(0, count), delta.reshape(())


def _range(inputs: Inputs, _attributes: dict[str, Any], _opset: int) -> list[Array]:
    start, count, delta = counted(inputs)
    return [(start + np.arange(count, dtype=start.dtype) * delta).astype(start.dtype)]


def _extreme(function: Callable[..., Any]) -> Operator:
    """Make an operator of a function that returns the index of the first number of its kind."""

    def operator(inputs: Inputs, attributes: dict[str, Any], _opset: int) -> list[Array]:
        (x,) = required(inputs, 1)
        axis = attributes.get("axis", 0)
        last = bool(attributes.get("select_last_index", 0))
        index = np.asarray(function(np.flip(x, axis) if last else x, axis), np.int64)
        index = x.shape[axis] - 1 - index if last else index
        return [np.expand_dims(index, axis) if attributes.get("keepdims", 1) else np.asarray(index)]

    return operator


def _indices(array: Array) -> Array:
    if array.dtype.kind != "i":
        raise ValueError(f"indices: expected integers, got {array.dtype}")
    return array


def _gather_elements(inputs: Inputs, attributes: dict[str, Any], _opset: int) -> list[Array]:
    x, indices = required(inputs, 2)
    axis = attributes.get("axis", 0)
    if indices.ndim != x.ndim or not -x.ndim <= axis < x.ndim:
        raise ValueError(
            f"expected indices with {x.ndim} axes and one of them, got {indices.ndim} and {axis}"
        )
    # There may be fewer indices along the other axes.
    part = [slice(None) if at == axis % x.ndim else slice(size) for at, size in enumerate(indices.shape)]
    return [np.take_along_axis(x[tuple(part)], _indices(indices), axis)]


def _gather_nd(inputs: Inputs, attributes: dict[str, Any], _opset: int) -> list[Array]:
    x, indices = required(inputs, 2)
    batch = attributes.get("batch_dims", 0)
    if not 0 <= batch < min(x.ndim, indices.ndim) or x.shape[:batch] != indices.shape[:batch]:
        raise ValueError(
            f"batch_dims: expected axes that both inputs have, got {batch} of {x.shape} and {indices.shape}"
        )
    if not 1 <= indices.shape[-1] <= x.ndim - batch:
        raise ValueError(f"indices: expected 1 to {x.ndim - batch} for each element, got {indices.shape[-1]}")
    places = np.moveaxis(_indices(indices), -1, 0)
    rows = [
        np.arange(size).reshape(-1, *[1] * (indices.ndim - 2 - at)) for at, size in enumerate(x.shape[:batch])
    ]
    return [np.asarray(x[(*rows, *places)])]


def _largest(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
    x, *given = required(inputs, 1 if opset < 10 else 2)
    (count,) = integers(given[0], "K") if given else (attributes["k"],)
    axis = attributes.get("axis", -1)
    if not 0 <= count <= x.shape[axis]:
        raise ValueError(f"K: expected at most the {x.shape[axis]} numbers of an axis, got {count}")
    # Of equal numbers the first comes first, which a stable order from the end turns around twice.
    if attributes.get("largest", 1):
        order = x.shape[axis] - 1 - np.flip(np.argsort(np.flip(x, axis), axis, kind="stable"), axis)
    else:
        order = np.argsort(x, axis, kind="stable")
    chosen = np.moveaxis(np.moveaxis(order, axis, 0)[:count], 0, axis)
    return [np.take_along_axis(x, chosen, axis), chosen.astype(np.int64)]


INDEXING: dict[str, Operator] = {
    "ArgMax": _extreme(np.argmax),
    "ArgMin": _extreme(np.argmin),
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "Range": _range,
    "TopK": _largest,
}
