"""Nodes that only lay out a value anew, or take parts of it, between layers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.base import limits
from fusedlstm.exchange.onnx.file import DTYPES
from fusedlstm.exchange.onnx.inputs import integers
from fusedlstm.exchange.onnx.reader import FixedError
from fusedlstm.exchange.onnx.shapes import split_sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fusedlstm.exchange.onnx.reader import Reader
    from fusedlstm.exchange.onnx.steps import Step
    from fusedlstm.exchange.onnx.values import Value

# A number in a list of Python's, rounded up for the time that making it takes.
_INDEX = 64


def axes_of_step(reader: Reader, step: Step) -> list[int] | None:
    """Return the axes that a node names as an attribute or as its second input."""
    given = step.attributes.get("axes")
    if given is None and len(step.inputs) > 1 and step.inputs[1]:
        given = integers(reader.known[step.inputs[1]], "axes")
    return given


def split(reader: Reader, step: Step, value: Value) -> list[Value]:
    """Follow Split."""
    axis = step.attributes.get("axis", 0)
    given = step.attributes.get("split")
    if reader.opset >= 13 and "".join(step.inputs[1:2]):
        given = integers(reader.known[step.inputs[1]], "split")
    parts, start = [], 0
    for size in split_sizes(value.shape[axis], given, len(step.outputs), reader.opset):
        parts.append(value.taken(axis, range(start, start + size), keep=True))
        start += size
    return parts


def _cast(reader: Reader, step: Step, value: Value) -> Value:
    """Pass over what casts ids to other integers, or numbers between those of 16 and of 32 bits."""
    to = DTYPES[step.attributes["to"]]
    if reader.is_ids(value):
        good = to.kind == "i"
    else:
        good = to.kind == "f" and (to == np.float64) == (reader.dtype == "float64")
    if not good:
        raise ValueError(f"to: expected one type of numbers from the input to the output, got {to}")
    return value


def _transposed(_reader: Reader, step: Step, value: Value) -> Value:
    return value.transposed(step.attributes.get("perm"))


def _squeezed(reader: Reader, step: Step, value: Value) -> Value:
    return value.squeezed(axes_of_step(reader, step))


def _unsqueezed(reader: Reader, step: Step, value: Value) -> Value:
    return value.unsqueezed(axes_of_step(reader, step) or [])


def _reshaped(reader: Reader, step: Step, value: Value) -> Value:
    shape = integers(reader.known[step.inputs[1]], "shape")
    try:
        return value.reshaped(shape, bool(step.attributes.get("allowzero", 0)))
    except ValueError:
        for letter, size in zip(value.axes, shape, strict=False):
            if reader.is_any(letter, value) and size > 0 and size != value.size(letter):
                raise FixedError(letter, size) from None
        raise


def _flattened(_reader: Reader, step: Step, value: Value) -> Value:
    axis = step.attributes.get("axis", 1)
    return value.reshaped([math.prod(value.shape[:axis]), -1])


def _gathered(reader: Reader, step: Step, value: Value) -> Value:
    indices = reader.known[step.inputs[1]]
    limits.claim(_INDEX * indices.size, "indices")
    chosen = integers(indices, "indices", few=False)
    return _taken(reader, value, step.attributes.get("axis", 0), chosen, indices.ndim > 0)


def _sliced(reader: Reader, step: Step, value: Value) -> Value:
    if reader.opset < 10:
        given: list[Any] = [step.attributes.get(name) for name in ("starts", "ends", "axes")]
    else:
        given = [integers(reader.known[name], "input") if name else None for name in step.inputs[1:]]
    starts, ends, axes, by = (*given, None, None)[:4]
    axes = range(len(starts)) if axes is None else axes
    by = [1] * len(starts) if by is None else by
    for start, end, axis, stride in zip(starts, ends, axes, by, strict=True):
        # ONNX's ends are clipped as Python's, but for one before the first, which there is no number for.
        indices = range(value.shape[axis])[slice(start, end, stride)]
        value = _taken(reader, value, axis, indices, keep=True)
    return value


def _taken(reader: Reader, value: Value, axis: int, indices: Sequence[int], keep: bool) -> Value:
    if value.axes[axis] == "F" and len(indices) < value.features:
        limits.claim(_INDEX * len(indices), "indices")
        value = reader.with_columns(value, [index % value.features for index in indices])
        indices = range(value.features)
    return value.taken(axis, indices, keep)


MOVES: dict[str, Callable[[Reader, Step, Value], Value]] = {
    "Cast": _cast,
    "Flatten": _flattened,
    "Gather": _gathered,
    "Identity": lambda reader, step, value: value,  # noqa: ARG005
    "Reshape": _reshaped,
    "Slice": _sliced,
    "Squeeze": _squeezed,
    "Transpose": _transposed,
    "Unsqueeze": _unsqueezed,
}
