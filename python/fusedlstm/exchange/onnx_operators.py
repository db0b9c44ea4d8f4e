"""ONNX's operators around the LSTM, in NumPy: what exporters write between layers, and dense layers.

An operator is a function of its inputs, None for those that are left out, its attributes and the version of
the standard operators. What each computes is said in ONNX's operator specification.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fusedlstm import activations, ops
from fusedlstm.exchange.onnx_file import DTYPES, Array, array_of

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["OPERATORS", "Operator"]

Inputs: TypeAlias = "Sequence[Array | None]"
Operator: TypeAlias = Callable[["Inputs", dict[str, Any], int], "list[Array]"]


def _given(inputs: Inputs, count: int) -> list[Array]:
    """Return the first `count` inputs, which must all be there."""
    arrays = [array for array in inputs[:count] if array is not None]
    if len(arrays) != count:
        raise ValueError(f"expected {count} inputs, got {len(arrays)}")
    return arrays


def _optional(inputs: Inputs, number: int) -> Array | None:
    return inputs[number] if number < len(inputs) else None


def _numbers(array: Array, name: str) -> list[int]:
    """Return the elements of an integer tensor of rank 0 or 1."""
    if array.dtype.kind != "i" or array.ndim > 1:
        raise ValueError(f"{name}: expected integers, got {array.dtype} of shape {array.shape}")
    return [int(value) for value in np.atleast_1d(array)]


def _pointwise(function: Callable[[Array, dict[str, Any]], Array]) -> Operator:
    """Make an operator of a function of one floating-point array."""

    def operator(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
        del opset
        (x,) = _given(inputs, 1)
        if x.dtype.kind != "f":
            raise ValueError(f"expected float32 or float64, got {x.dtype}")
        return [function(x, attributes)]

    return operator


def _scalar(attributes: dict[str, Any], name: str, default: float, x: Array) -> Array:
    return np.asarray(attributes.get(name, default), x.dtype)


def _hard_sigmoid(x: Array, a: dict[str, Any]) -> Array:
    y: Array = np.clip(x * _scalar(a, "alpha", 0.2, x) + _scalar(a, "beta", 0.5, x), 0, 1)
    return y


def _elu(x: Array, a: dict[str, Any]) -> Array:
    return np.where(x < 0, _scalar(a, "alpha", 1.0, x) * np.expm1(np.minimum(x, 0)), x)


def _binary(function: Callable[[Array, Array], Array]) -> Operator:
    """Make an operator of a function of two arrays of one type."""

    def operator(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
        del attributes, opset
        a, b = _given(inputs, 2)
        if a.dtype != b.dtype:
            raise ValueError(f"expected two inputs of one type, got {a.dtype} and {b.dtype}")
        return [np.asarray(function(a, b))]

    return operator


def _divided(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(a / b)
    if not b.all():
        raise ValueError("expected no integer division by zero")
    quotient = a // b
    # ONNX rounds towards zero.
    return np.asarray(quotient + ((quotient < 0) & (quotient * b != a)), a.dtype)


def _softmax(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
    (x,) = _given(inputs, 1)
    if x.dtype.kind != "f":
        raise ValueError(f"expected float32 or float64, got {x.dtype}")
    if opset >= 13:
        axis = attributes.get("axis", -1)
        return [np.moveaxis(activations.softmax(np.moveaxis(x, axis, -1)), -1, axis)]
    rows = math.prod(x.shape[: _axis(attributes.get("axis", 1), x.ndim)])
    return [activations.softmax(x.reshape(rows, -1)).reshape(x.shape)]


def _axis(axis: int, rank: int) -> int:
    """Return an axis from 0 to rank, given one that may count from the end."""
    result = axis + rank if axis < 0 else axis
    if not 0 <= result <= rank:
        raise ValueError(f"axis: expected one of a tensor with {rank} axes, got {axis}")
    return result


def _product(a: Array, b: Array) -> Array:
    if a.dtype != b.dtype or a.dtype.kind != "f":
        raise ValueError(f"expected float32 or float64 for both inputs, got {a.dtype} and {b.dtype}")
    if b.ndim != 2 or a.ndim < 2 or not a.size or not b.size or a.shape[-1] != b.shape[0]:
        return np.asarray(np.matmul(a, b))
    rows = a.reshape(math.prod(a.shape[:-1]), a.shape[-1])
    return ops.dense_forward(rows, b).reshape(*a.shape[:-1], b.shape[1])


def _matmul(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
    del attributes, opset
    return [_product(*_given(inputs, 2))]


def _gemm(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
    del opset
    a, b = _given(inputs, 2)
    if a.ndim != 2 or b.ndim != 2:
        raise ValueError(f"expected two matrices, got shapes {a.shape} and {b.shape}")
    y = _product(a.T if attributes.get("transA", 0) else a, b.T if attributes.get("transB", 0) else b)
    alpha, beta = _scalar(attributes, "alpha", 1.0, y), _scalar(attributes, "beta", 1.0, y)
    y = y if alpha == 1 else y * alpha
    c = _optional(inputs, 2)
    if c is None:
        return [y]
    if c.dtype != y.dtype or np.broadcast_shapes(c.shape, y.shape) != y.shape:
        raise ValueError(f"C: expected {y.dtype} that fits shape {y.shape}, got {c.dtype} of shape {c.shape}")
    return [y + (c if beta == 1 else c * beta)]


def _axes(inputs: Inputs, attributes: dict[str, Any], opset: int, since: int) -> list[int] | None:
    """Return the axes, which were an attribute before opset `since` and are the second input from then on."""
    if opset < since:
        given = attributes.get("axes")
        return None if given is None else [int(axis) for axis in given]
    array = _optional(inputs, 1)
    return None if array is None else _numbers(array, "axes")


def _squeeze(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
    (x,) = _given(inputs, 1)
    axes = _axes(inputs, attributes, opset, 13)
    return [np.squeeze(x, None if axes is None else tuple(axes))]


def _unsqueeze(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
    (x,) = _given(inputs, 1)
    axes = _axes(inputs, attributes, opset, 13)
    return [np.expand_dims(x, tuple(axes or ()))]


def _reduction(function: Callable[..., Array], since: int) -> Operator:
    def operator(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
        (x,) = _given(inputs, 1)
        axes = _axes(inputs, attributes, opset, since)
        if not axes and attributes.get("noop_with_empty_axes", 0):
            return [x]
        keep = bool(attributes.get("keepdims", 1))
        return [np.asarray(function(x, axis=tuple(axes) if axes else None, keepdims=keep)).astype(x.dtype)]

    return operator


def _transpose(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
    del opset
    (x,) = _given(inputs, 1)
    return [np.transpose(x, attributes.get("perm"))]


def _reshape(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
    del opset
    x, wanted = _given(inputs, 2)
    shape = _numbers(wanted, "shape")
    if not attributes.get("allowzero", 0):
        if any(size == 0 and axis >= x.ndim for axis, size in enumerate(shape)):
            raise ValueError(f"shape: expected no 0 beyond the {x.ndim} axes of the input, got {shape}")
        shape = [x.shape[axis] if size == 0 else size for axis, size in enumerate(shape)]
    if any(size < -1 for size in shape):
        raise ValueError(f"shape: expected sizes of at least -1, got {shape}")
    if -1 in shape and not x.size:
        # NumPy cannot tell what -1 is when another size is 0; the product of all others that are not can.
        rest = math.prod(size for size in shape if size != -1)
        if rest == 0:
            known = math.prod(size for size in shape if size > 0)
            kept = math.prod(size for size in x.shape if size)
            shape = [kept // known if size == -1 else size for size in shape]
    return [x.reshape(shape)]


def _flatten(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
    del opset
    (x,) = _given(inputs, 1)
    axis = _axis(attributes.get("axis", 1), x.ndim)
    return [x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))]


def _gather(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
    del opset
    x, indices = _given(inputs, 2)
    if indices.dtype.kind != "i":
        raise ValueError(f"indices: expected integers, got {indices.dtype}")
    return [np.asarray(np.take(x, indices, axis=attributes.get("axis", 0)))]


def _slice(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
    (x,) = _given(inputs, 1)
    names = ("starts", "ends", "axes", "steps")
    if opset < 10:
        given = [attributes.get(name) for name in names]
    else:
        arrays = [_optional(inputs, number + 1) for number in range(4)]
        given = [None if a is None else _numbers(a, name) for a, name in zip(arrays, names, strict=True)]
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


def _concat(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
    del opset
    arrays = _given(inputs, len(inputs))
    if len({array.dtype for array in arrays}) != 1:
        raise ValueError(f"expected inputs of one type, got {[str(array.dtype) for array in arrays]}")
    return [np.concatenate(arrays, axis=attributes["axis"])]


def _shape(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
    del opset
    (x,) = _given(inputs, 1)
    return [np.asarray(x.shape[attributes.get("start", 0) : attributes.get("end")], np.int64)]


def _constant_of_shape(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
    del opset
    (shape,) = _given(inputs, 1)
    tensor = attributes.get("value")
    value = np.zeros(1, np.float32) if tensor is None else array_of(tensor)
    if value.size != 1:
        raise ValueError(f"value: expected one number, got shape {value.shape}")
    return [np.full(_numbers(shape, "shape"), value.reshape(()), value.dtype)]


def _expand(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
    del attributes, opset
    x, shape = _given(inputs, 2)
    return [np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(_numbers(shape, "shape"))))]


def _cast(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
    del opset
    (x,) = _given(inputs, 1)
    if attributes["to"] not in DTYPES:
        raise ValueError(
            f"to: expected one of {', '.join(map(str, DTYPES.values()))}, got ONNX's type {attributes['to']}"
        )
    return [x.astype(DTYPES[attributes["to"]])]


def _where(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
    del attributes, opset
    condition, x, y = _given(inputs, 3)
    if condition.dtype != np.bool_ or x.dtype != y.dtype:
        raise ValueError(f"expected bool and two of one type, got {condition.dtype}, {x.dtype} and {y.dtype}")
    return [np.where(condition, x, y)]


def _not(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
    del attributes, opset
    (x,) = _given(inputs, 1)
    if x.dtype != np.bool_:
        raise ValueError(f"expected bool, got {x.dtype}")
    return [np.logical_not(x)]


def _dropout(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
    del attributes
    (x,) = _given(inputs, 1)
    training = _optional(inputs, 2)
    if training is not None and training.any():
        raise ValueError("training_mode: expected false, got true")
    return [x, np.ones(x.shape, bool if opset >= 10 else x.dtype)]


def _constant(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
    del inputs, opset
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


OPERATORS: dict[str, Operator] = {
    "Add": _binary(np.add),
    "Cast": _cast,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Div": _binary(_divided),
    "Dropout": _dropout,
    "Elu": _pointwise(_elu),
    "Equal": _binary(np.equal),
    "Exp": _pointwise(lambda x, _: activations.exponential(x)),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gemm": _gemm,
    "HardSigmoid": _pointwise(_hard_sigmoid),
    "Identity": lambda inputs, attributes, opset: _given(inputs, 1),  # noqa: ARG005
    "LeakyRelu": _pointwise(lambda x, a: np.where(x < 0, x * _scalar(a, "alpha", 0.01, x), x)),
    "MatMul": _matmul,
    "Mul": _binary(np.multiply),
    "Not": _not,
    "ReduceMax": _reduction(np.max, 18),
    "ReduceSum": _reduction(np.sum, 13),
    "Relu": _pointwise(lambda x, _: activations.relu(x)),
    "Reshape": _reshape,
    "Shape": _shape,
    "Sigmoid": _pointwise(lambda x, _: activations.sigmoid(x)),
    "Slice": _slice,
    "Softmax": _softmax,
    "Softplus": _pointwise(lambda x, _: activations.softplus(x)),
    "Softsign": _pointwise(lambda x, _: activations.softsign(x)),
    "Squeeze": _squeeze,
    "Sub": _binary(np.subtract),
    "Tanh": _pointwise(lambda x, _: activations.tanh(x)),
    "ThresholdedRelu": _pointwise(lambda x, a: np.where(x <= _scalar(a, "alpha", 1.0, x), x * 0, x)),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}
