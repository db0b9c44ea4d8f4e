"""ONNX's operators that compute: matrix products on this package's kernel, the others in NumPy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import activations, ops
from fusedlstm.exchange.onnx.inputs import Inputs, Operator, axes_of, axis_of, integers, optional, required

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusedlstm.exchange.onnx.file import Array


def _pointwise(function: Callable[[Array, dict[str, Any]], Array]) -> Operator:
    """Make an operator of a function of one floating-point array."""

    def operator(inputs: Inputs, attributes: dict[str, Any], _opset: int) -> list[Array]:
        (x,) = required(inputs, 1)
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


def _erf(x: Array) -> Array:
    # NumPy has none.
    values = np.fromiter(map(math.erf, x.ravel().tolist()), np.float64, x.size)
    return values.reshape(x.shape).astype(x.dtype)


def _gelu(x: Array, attributes: dict[str, Any]) -> Array:
    kind = attributes.get("approximate", "none")
    if kind not in ("none", "tanh"):
        raise ValueError(f"approximate: expected none or tanh, got {kind!r}")
    root, half = x.dtype.type(math.sqrt(0.5)), x.dtype.type(0.5)
    if kind == "none":
        return np.asarray(half * x * (1 + _erf(root * x)))
    inner = x.dtype.type(math.sqrt(2 / math.pi)) * (x + x.dtype.type(0.044715) * x * x * x)
    return np.asarray(half * x * (1 + np.tanh(inner)))


def _binary(function: Callable[[Array, Array], Array]) -> Operator:
    """Make an operator of a function of two arrays of one type."""

    def operator(inputs: Inputs, _attributes: dict[str, Any], _opset: int) -> list[Array]:
        a, b = required(inputs, 2)
        if a.dtype != b.dtype:
            raise ValueError(f"expected two inputs of one type, got {a.dtype} and {b.dtype}")
        return [np.asarray(function(a, b))]

    return operator


def _of_many(function: Callable[[Array, Array], Array]) -> Operator:
    """Make an operator of any number of arrays of a function of two of one type."""
    pair = _binary(function)

    def operator(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
        result, *others = required(inputs, max(1, len(inputs)))
        for other in others:
            (result,) = pair([result, other], attributes, opset)
        return [result]

    return operator


_sum = _of_many(np.add)


def _mean(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
    (total,) = _sum(inputs, attributes, opset)
    return [total / total.dtype.type(len(inputs))]


def _divided(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(a / b)
    if not b.all():
        raise ValueError("expected no integer division by zero")
    quotient = a // b
    # ONNX rounds towards zero.
    return np.asarray(quotient + ((quotient < 0) & (quotient * b != a)), a.dtype)


def _normalized(function: Callable[[Array], Array]) -> Operator:
    """Make an operator of a function over the last axis, which is one axis, or all from one on before 13."""

    def operator(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
        (x,) = required(inputs, 1)
        if x.dtype.kind != "f":
            raise ValueError(f"expected float32 or float64, got {x.dtype}")
        if opset >= 13:
            axis = attributes.get("axis", -1)
            return [np.moveaxis(function(np.moveaxis(x, axis, -1)), -1, axis)]
        rows = math.prod(x.shape[: axis_of(attributes.get("axis", 1), x.ndim)])
        return [function(x.reshape(rows, -1)).reshape(x.shape)]

    return operator


def _power(inputs: Inputs, _attributes: dict[str, Any], _opset: int) -> list[Array]:
    x, exponent = required(inputs, 2)
    if x.dtype.kind != "f":
        raise ValueError(f"expected float32 or float64, got {x.dtype}")
    with np.errstate(all="ignore"):
        return [np.asarray(np.power(x, exponent)).astype(x.dtype)]


def _modulo(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
    a, b = required(inputs, 2)
    truncated = bool(attributes.get("fmod", 0))
    if a.dtype.kind == "f" and not truncated:
        raise ValueError(f"fmod: expected 1 for {a.dtype}, got 0")
    if a.dtype.kind != "f" and not b.all():
        raise ValueError("expected no integer division by zero")
    with np.errstate(invalid="ignore"):
        return _binary(np.fmod if truncated else np.mod)(inputs, attributes, opset)


def _sloped(x: Array, slope: Array) -> Array:
    if np.broadcast_shapes(x.shape, slope.shape) != x.shape:
        raise ValueError(f"slope: expected one that fits shape {x.shape}, got {slope.shape}")
    return np.where(x < 0, slope * x, x)


def _quiet(function: Callable[[Array], Array]) -> Operator:
    """Make an operator of a function that is NaN or infinite for some numbers."""

    def quiet(x: Array, _attributes: dict[str, Any]) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return function(x)

    return _pointwise(quiet)


def _clip(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
    (x,) = required(inputs, 1)
    limits: list[Any] = [optional(inputs, 1), optional(inputs, 2)]
    if opset < 11:
        limits = [
            np.asarray(attributes[name], x.dtype) if name in attributes else None for name in ("min", "max")
        ]
    if any(limit is not None and (limit.dtype != x.dtype or limit.ndim) for limit in limits):
        raise ValueError(f"min, max: expected {x.dtype} without axes")
    return [x if all(limit is None for limit in limits) else np.asarray(np.clip(x, *limits))]


def _product(a: Array, b: Array) -> Array:
    if a.dtype != b.dtype or a.dtype.kind != "f":
        raise ValueError(f"expected float32 or float64 for both inputs, got {a.dtype} and {b.dtype}")
    if b.ndim != 2 or a.ndim < 2 or not a.size or not b.size or a.shape[-1] != b.shape[0]:
        return np.asarray(np.matmul(a, b))
    rows = a.reshape(math.prod(a.shape[:-1]), a.shape[-1])
    return ops.dense_forward(rows, b).reshape(*a.shape[:-1], b.shape[1])


def _matmul(inputs: Inputs, _attributes: dict[str, Any], _opset: int) -> list[Array]:
    return [_product(*required(inputs, 2))]


def _gemm(inputs: Inputs, attributes: dict[str, Any], _opset: int) -> list[Array]:
    a, b = required(inputs, 2)
    if a.ndim != 2 or b.ndim != 2:
        raise ValueError(f"expected two matrices, got shapes {a.shape} and {b.shape}")
    y = _product(a.T if attributes.get("transA", 0) else a, b.T if attributes.get("transB", 0) else b)
    alpha, beta = _scalar(attributes, "alpha", 1.0, y), _scalar(attributes, "beta", 1.0, y)
    y = y if alpha == 1 else y * alpha
    c = optional(inputs, 2)
    if c is None:
        return [y]
    if (
        c.dtype != y.dtype
        or c.ndim > 2
        or any(own not in (1, full) for own, full in zip(c.shape[::-1], y.shape[::-1], strict=False))
    ):
        raise ValueError(f"C: expected {y.dtype} that fits shape {y.shape}, got {c.dtype} of shape {c.shape}")
    return [y + (c if beta == 1 else c * beta)]


def _reduction(function: Callable[..., Array], since: int) -> Operator:
    def operator(inputs: Inputs, attributes: dict[str, Any], opset: int) -> list[Array]:
        (x,) = required(inputs, 1)
        axes = axes_of(inputs, attributes, opset, since)
        if not axes and attributes.get("noop_with_empty_axes", 0):
            return [x]
        keep = bool(attributes.get("keepdims", 1))
        return [np.asarray(function(x, axis=tuple(axes) if axes else None, keepdims=keep)).astype(x.dtype)]

    return operator


def _running_sum(inputs: Inputs, attributes: dict[str, Any], _opset: int) -> list[Array]:
    x, given = required(inputs, 2)
    (axis,) = integers(given, "axis")
    turned = np.flip(x, axis) if attributes.get("reverse", 0) else x
    sums = np.cumsum(turned, axis, dtype=x.dtype)
    if attributes.get("exclusive", 0):
        sums = np.roll(sums, 1, axis)
        np.moveaxis(sums, axis, 0)[:1] = 0
    return [np.flip(sums, axis) if attributes.get("reverse", 0) else sums]


def _length(x: Array, axis: tuple[int, ...] | None, keepdims: bool) -> Array:
    return np.asarray(np.sqrt(np.square(x).sum(axis=axis, keepdims=keepdims)))


def _logical(function: Callable[[Array, Array], Array]) -> Operator:
    """Make an operator of a function of two arrays of truth values."""

    def operator(inputs: Inputs, _attributes: dict[str, Any], _opset: int) -> list[Array]:
        a, b = required(inputs, 2)
        if a.dtype != np.bool_ or b.dtype != np.bool_:
            raise ValueError(f"expected bool, got {a.dtype} and {b.dtype}")
        return [function(a, b)]

    return operator


def _where(inputs: Inputs, _attributes: dict[str, Any], _opset: int) -> list[Array]:
    condition, x, y = required(inputs, 3)
    if condition.dtype != np.bool_ or x.dtype != y.dtype:
        raise ValueError(f"expected bool and two of one type, got {condition.dtype}, {x.dtype} and {y.dtype}")
    return [np.where(condition, x, y)]


def _not(inputs: Inputs, _attributes: dict[str, Any], _opset: int) -> list[Array]:
    (x,) = required(inputs, 1)
    if x.dtype != np.bool_:
        raise ValueError(f"expected bool, got {x.dtype}")
    return [np.logical_not(x)]


def _dropout(inputs: Inputs, _attributes: dict[str, Any], opset: int) -> list[Array]:
    (x,) = required(inputs, 1)
    training = optional(inputs, 2)
    if training is not None and training.any():
        raise ValueError("training_mode: expected false, got true")
    return [x, np.ones(x.shape, bool if opset >= 10 else x.dtype)]


ARITHMETIC: dict[str, Operator] = {
    "Abs": _pointwise(lambda x, _: np.abs(x)),
    "Add": _binary(np.add),
    "And": _logical(np.logical_and),
    "Clip": _clip,
    "CumSum": _running_sum,
    "Div": _binary(_divided),
    "Dropout": _dropout,
    "Elu": _pointwise(_elu),
    "Equal": _binary(np.equal),
    "Erf": _pointwise(lambda x, _: _erf(x)),
    "Exp": _pointwise(lambda x, _: activations.exponential(x)),
    "Gelu": _pointwise(_gelu),
    "Gemm": _gemm,
    "Greater": _binary(np.greater),
    "GreaterOrEqual": _binary(np.greater_equal),
    "HardSigmoid": _pointwise(_hard_sigmoid),
    "Identity": lambda inputs, attributes, opset: required(inputs, 1),  # noqa: ARG005
    "LeakyRelu": _pointwise(lambda x, a: np.where(x < 0, x * _scalar(a, "alpha", 0.01, x), x)),
    "Less": _binary(np.less),
    "LessOrEqual": _binary(np.less_equal),
    "Log": _quiet(np.log),
    "LogSoftmax": _normalized(activations.log_softmax),
    "MatMul": _matmul,
    "Max": _of_many(np.maximum),
    "Mean": _mean,
    "Min": _of_many(np.minimum),
    "Mod": _modulo,
    "Mul": _binary(np.multiply),
    "Neg": _pointwise(lambda x, _: -x),
    "Not": _not,
    "Or": _logical(np.logical_or),
    "PRelu": _binary(_sloped),
    "Pow": _power,
    "Reciprocal": _quiet(lambda x: 1 / x),
    "ReduceL2": _reduction(_length, 18),
    "ReduceMax": _reduction(np.max, 18),
    "ReduceMean": _reduction(np.mean, 18),
    "ReduceMin": _reduction(np.min, 18),
    "ReduceProd": _reduction(np.prod, 18),
    "ReduceSum": _reduction(np.sum, 13),
    "Relu": _pointwise(lambda x, _: activations.relu(x)),
    "Sigmoid": _pointwise(lambda x, _: activations.sigmoid(x)),
    "Softmax": _normalized(activations.softmax),
    "Softplus": _pointwise(lambda x, _: activations.softplus(x)),
    "Softsign": _pointwise(lambda x, _: activations.softsign(x)),
    "Sqrt": _quiet(np.sqrt),
    "Sub": _binary(np.subtract),
    "Sum": _sum,
    "Tanh": _pointwise(lambda x, _: activations.tanh(x)),
    "ThresholdedRelu": _pointwise(lambda x, a: np.where(x <= _scalar(a, "alpha", 1.0, x), x * 0, x)),
    "Where": _where,
}
