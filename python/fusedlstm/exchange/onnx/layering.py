"""Nodes that are layers, or parts of one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fusedlstm.exchange.onnx import made as making
from fusedlstm.exchange.onnx.inputs import integers
from fusedlstm.exchange.onnx.made import Made
from fusedlstm.exchange.onnx.moves import axes_of_step
from fusedlstm.exchange.onnx.pooling import Windows
from fusedlstm.exchange.onnx.reader import ANY, FixedError
from fusedlstm.layers import (
    Activation,
    Add,
    Average,
    Dropout,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    RepeatVector,
)

if TYPE_CHECKING:
    from fusedlstm.exchange.onnx.reader import Reader
    from fusedlstm.exchange.onnx.steps import Step
    from fusedlstm.exchange.onnx.values import Value
    from fusedlstm.layers import Layer

# Reductions of all axes after the second, which stay, as those of named axes.
_POOLING = {
    "AveragePool": "ReduceMean",
    "GlobalAveragePool": "ReduceMean",
    "GlobalMaxPool": "ReduceMax",
    "MaxPool": "ReduceMax",
}


def applied(reader: Reader, step: Step, value: Value) -> Value:
    """Follow a node that is a layer, or a part of one."""
    operator, a = step.operator, step.attributes
    others = [reader.known[name] for name in step.inputs if name and name not in reader.values]
    number = float(others[0].reshape(())) if len(others) == 1 and others[0].size == 1 else None
    if _averages(reader, step, 2 if value.merge == "sum" else 0, number):
        return replace(value, merge="ave")
    before = reader.made[value.layer - 1] if value.layer > 0 else Made()
    if type(before.layer) is Add and _averages(reader, step, len(before.sources), number):
        return reader.instead(value, replace(before, layer=Average(dtype=reader.dtype)))
    names = tuple(reader.scoped.get(name, name) for name in step.inputs if name not in reader.values)
    if operator == "Add":
        made = making.biased(before, others[0])
        if made is not None:
            return reader.instead(value, replace(made, names=(*before.names, *names)))
    if operator in ("ReduceMean", "ReduceSum", "ReduceMax", *_POOLING):
        return _reduced(reader, step, value)
    if operator in ("Expand", "Tile"):
        return _repeated(reader, step, value)
    value = reader.finished(value)
    if operator == "Gather":
        if reader.made[value.layer - 1].sources or step.inputs[0] in reader.values or a.get("axis", 0) != 0:
            raise ValueError("expected ids that choose vectors of a table")
        made = replace(making.embedding(reader.known[step.inputs[0]]), names=names)
        return reader.added(replace(value, axes=(*value.axes, "F")), made, made.weights[0].shape[1])
    if value.axes[-1:] in (("TF",), ("FT",)):
        value = reader.flat(value)
    if value.axes[-1:] != ("F",) and not making.elementwise(operator):
        raise ValueError(f"expected a layer's input with the features last, got {value}")
    shift = others[1] if len(others) > 1 else None
    if operator in ("MatMul", "Gemm"):
        factors = (a.get("alpha", 1.0), a.get("beta", 1.0))
        if step.inputs[0] not in reader.values or a.get("transA", 0) or factors != (1.0, 1.0):
            raise ValueError("expected a plain product with a constant matrix")
        made = making.dense(others[0].T if a.get("transB", 0) else others[0], shift)
        made = replace(made, names=(*names[:1], bool(a.get("transB", 0)), *names[1:]))
        return reader.added(value, made, made.weights[0].shape[1])
    if operator == "LayerNormalization":
        if a.get("axis", -1) not in (-1, len(value.axes) - 1):
            raise ValueError("expected a normalization of the features")
        made = replace(making.normalization(others[0], shift, a.get("epsilon", 1e-5)), names=names)
        return reader.added(value, made, value.features)
    layer: Layer
    if operator == "Dropout":
        layer = Dropout(_rate(reader, step), dtype=reader.dtype)
    else:
        layer = Activation(making.activation(operator, a, len(value.axes), reader.opset), dtype=reader.dtype)
    return reader.added(value, Made(layer=layer), value.features)


def _averages(reader: Reader, step: Step, count: int, number: float | None) -> bool:
    """Return whether a node makes a mean of a sum of so many values."""
    if not count or number is None:
        return False
    if step.operator == "Mul":
        return bool(np.float32(number) == np.float32(1 / count))
    return step.operator == "Div" and number == count and step.inputs[0] in reader.values


def _rate(reader: Reader, step: Step) -> float:
    """Return the share that a Dropout node drops in training."""
    if reader.opset < 12:
        return float(step.attributes.get("ratio", 0.5))
    return float(reader.known[step.inputs[1]].reshape(())) if "".join(step.inputs[1:2]) else 0.5


def _reduced(reader: Reader, step: Step, value: Value) -> Value:
    """Follow what makes one step, or one direction, of all."""
    value = value.of_one_layer()
    operator, keep = step.operator, step.attributes.get("keepdims", 1)
    given = axes_of_step(reader, step)
    if operator in _POOLING:
        given = list(range(2, len(value.axes)))
        if not operator.startswith("Global"):
            _check_window(reader, step, value)
        operator = _POOLING[operator]
    axes = [] if given is None else [axis % len(value.axes) for axis in given]
    letters = "".join(value.axes[axis] for axis in axes)
    if letters == "D" and operator != "ReduceMax" and len(value.parts) == 2 and value.merge is None:
        value = replace(value.without("D"), merge="sum" if operator == "ReduceSum" else "ave")
    elif letters == "T" and operator != "ReduceSum":
        value = reader.finished(value)
        pooling = GlobalMaxPooling1D if operator == "ReduceMax" else GlobalAveragePooling1D
        made = Made(layer=pooling(dtype=reader.dtype))
        value = reader.added(value.without("T"), made, value.features, sequences=False)
    else:
        raise ValueError(f"expected the mean or the maximum over the steps, got axes {given} of {value}")
    kept = tuple(one for axis, one in enumerate(value.axes) if axis not in axes)
    return value if keep else replace(value, axes=kept)


def _check_window(reader: Reader, step: Step, value: Value) -> None:
    """Refuse a pooling of parts of the steps, for which there is no layer."""
    steps = value.shape[-1]
    sizes = step.attributes.get("kernel_shape", [])
    if reader.is_any(value.axes[-1], value) and len(sizes) == 1:
        raise FixedError(value.axes[-1], sizes[0])
    if not Windows(steps, step.attributes).all_of(steps):
        raise ValueError(
            f"kernel_shape: expected all {steps} steps, for which there are layers, got windows of {sizes}"
        )


def _repeated(reader: Reader, step: Step, value: Value) -> Value:
    """Follow what repeats a vector as steps."""
    shape, given = value.shape, integers(reader.known[step.inputs[1]], step.operator)
    if step.operator == "Tile":
        wanted = tuple(size * count for size, count in zip(shape, given, strict=True))
    else:
        wanted = np.broadcast_shapes(shape, tuple(given))
        value = value.unsqueezed(range(len(wanted) - len(shape)))
    axes = [axis for axis, size in enumerate(value.shape) if size != wanted[axis]]
    if not axes:
        return value
    if len(axes) != 1 or value.axes[axes[0]] or any("T" in axis for axis in value.axes):
        raise ValueError(f"expected a vector that is repeated as steps, got {value} repeated to {wanted}")
    count = wanted[axes[0]]
    if count == ANY["T"] and reader.is_free("T"):
        raise ValueError(
            "expected a fixed number of steps, got as many as the input has, for which there is no layer: "
            "export the model with a fixed one"
        )
    value = reader.finished(value)
    repeated = tuple("T" if axis == axes[0] else own for axis, own in enumerate(value.axes))
    made = Made(layer=RepeatVector(count, dtype=reader.dtype))
    value = reader.added(value, made, value.features, sequences=True)
    return replace(value, axes=repeated, steps=count)
