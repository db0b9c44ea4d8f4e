"""What ONNX's operators are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fusedlstm.base import checks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusedlstm.exchange.onnx.file import Array

# An operator is a function of its inputs, None for those that are left out, its attributes and the version of
# the standard operators, and returns its outputs. What each computes is said in ONNX's specification.
Inputs: TypeAlias = "Sequence[Array | None]"
Operator: TypeAlias = Callable[["Inputs", dict[str, Any], int], "list[Array]"]


def required(inputs: Inputs, count: int) -> list[Array]:
    """Return the first `count` inputs, which must all be there."""
    arrays = [array for array in inputs[:count] if array is not None]
    if len(arrays) != count:
        raise ValueError(f"expected {count} inputs, got {len(arrays)}")
    return arrays


def optional(inputs: Inputs, number: int) -> Array | None:
    """Return an input, None if it is left out."""
    return inputs[number] if number < len(inputs) else None


def integers(array: Array, name: str, *, few: bool = True) -> list[int]:
    """Return the elements of an integer array of rank 0 or 1, at most one for each axis if they are `few`."""
    if array.dtype.kind != "i" or array.ndim > 1:
        raise ValueError(f"{name}: expected integers, got {array.dtype} of shape {array.shape}")
    if few and array.size > checks.MOST_AXES:
        raise ValueError(f"{name}: expected at most {checks.MOST_AXES} axes, got {array.size}")
    return [int(value) for value in np.atleast_1d(array)]


def axis_of(axis: int, rank: int) -> int:
    """Return an axis from 0 to rank, given one that may count from the end."""
    result = axis + rank if axis < 0 else axis
    if not 0 <= result <= rank:
        raise ValueError(f"axis: expected one of a tensor with {rank} axes, got {axis}")
    return result


def axes_of(inputs: Inputs, attributes: dict[str, Any], opset: int, since: int) -> list[int] | None:
    """Return the axes, which were an attribute before opset `since` and are the second input from then on."""
    if opset < since:
        given = attributes.get("axes")
        return None if given is None else [int(axis) for axis in given]
    array = optional(inputs, 1)
    return None if array is None else integers(array, "axes")
