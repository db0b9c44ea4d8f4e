"""Activation functions, each with its derivative expressed by its own output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from fusedlstm.base import checks
from fusedlstm.base.types import Array

__all__ = [
    "elu",
    "exponential",
    "get",
    "gradient",
    "hard_sigmoid",
    "kept",
    "leaky_relu",
    "linear",
    "log_softmax",
    "relu",
    "relu6",
    "selu",
    "serialize",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "swish",
    "tanh",
]

Activation: TypeAlias = Callable[[Array], Array]


class Row(NamedTuple):
    """All that other modules have to know of an activation.

    Attributes
    ----------
    kernel : int or None
        The kernels' number (csrc/math/activation.h); None for what no cell has.
    parameters : tuple of float
        Alpha, or alpha and beta, that the name alone stands for, where there are any.
    alphas : pair of str and callable, optional
        Which alphas there are, in words and as a test.
    onnx : str or None
        ONNX's operator.
    onnx_cell : str or None
        The name among the activations of ONNX's LSTM.
    onnx_defaults : tuple of float or None
        ONNX's alpha and beta; None where the standard leaves it open and runtimes disagree.
    of_input : bool
        Whether the gradient is a function of the input, as its output does not tell it.
    """

    kernel: int | None = None
    parameters: tuple[float, ...] = ()
    alphas: tuple[str, Callable[[float], bool]] | None = None
    onnx: str | None = None
    onnx_cell: str | None = None
    onnx_defaults: tuple[float | None, ...] = ()
    of_input: bool = False


TABLE: dict[str, Row] = {}
_GRADIENTS: dict[Activation, Callable[[Array, Array], Array]] = {}


def _row(
    *, gradient: Callable[[Array, Array], Array], kernel: int | None = None, **columns: Any
) -> Callable[[Activation], Activation]:
    """Enter a function into the table; `gradient` gets that of the output, and what `kept` returns."""
    if kernel is not None:
        columns.setdefault("onnx_cell", columns.get("onnx"))

    def enter(function: Activation) -> Activation:
        TABLE[function.__name__] = Row(kernel, **columns)
        _GRADIENTS[function] = gradient
        return function

    return enter


@_row(
    gradient=lambda dy, y: dy,  # noqa: ARG005
    kernel=7,
    parameters=(1.0, 0.0),
    onnx_cell="Affine",
    onnx_defaults=(None, None),
)
def linear(x: Array) -> Array:
    """Return ``x`` itself."""
    return x


@_row(gradient=lambda dy, y: dy * (y > 0), kernel=3, parameters=(0.0,), onnx="Relu")
def relu(x: Array) -> Array:
    """Return ``max(x, 0)``; NaN stays NaN."""
    y: Array = np.maximum(x, 0)
    return y


@_row(
    gradient=lambda dy, y: dy * np.where(y > 0, 1, y + 1),
    kernel=4,
    parameters=(1.0,),
    alphas=("a positive alpha", lambda alpha: alpha > 0),
    onnx="Elu",
    onnx_defaults=(1.0,),
)
def elu(x: Array) -> Array:
    """Return ``x`` where it is positive, ``exp(x) - 1`` elsewhere."""
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


@_row(
    gradient=lambda dy, y: dy * np.where(y > 0, 1, y.dtype.type(0.2)),
    kernel=3,
    parameters=(0.2,),
    onnx="LeakyRelu",
    onnx_defaults=(0.01,),
)
def leaky_relu(x: Array) -> Array:
    """Return ``x`` where it is positive, ``0.2 x`` elsewhere."""
    return np.where(x > 0, x, x * x.dtype.type(0.2))


@_row(gradient=lambda dy, y: dy * y, kernel=8, onnx="Exp", onnx_cell=None)
def exponential(x: Array) -> Array:
    """Return ``exp(x)``."""
    y: Array = np.exp(x)
    return y


@_row(gradient=lambda dy, y: dy * (1 - np.abs(y)) ** 2, kernel=5, onnx="Softsign")
def softsign(x: Array) -> Array:
    """Return ``x / (1 + |x|)``."""
    y: Array = x / (1 + np.abs(x))
    return y


@_row(
    gradient=lambda dy, y: dy * np.where((y > 0) & (y < 1), y.dtype.type(1 / 6), 0),
    kernel=2,
    parameters=(1 / 6, 0.5),
    onnx="HardSigmoid",
    onnx_defaults=(0.2, 0.5),
)
def hard_sigmoid(x: Array) -> Array:
    """Return ``x / 6 + 1 / 2`` within [0, 1]."""
    y: Array = np.clip(x / 6 + x.dtype.type(0.5), 0, 1)
    return y


@_row(gradient=lambda dy, y: dy * (y * (1 - y)), kernel=1, onnx="Sigmoid")
def sigmoid(x: Array) -> Array:
    """Return ``1 / (1 + exp(-x))``, with full relative precision on both sides."""
    e = np.exp(-np.abs(x))
    y: Array = np.where(x >= 0, 1, e) / (1 + e)
    return y


@_row(gradient=lambda dy, y: dy * -np.expm1(-y), kernel=6, onnx="Softplus")
def softplus(x: Array) -> Array:
    """Return ``log(1 + exp(x))`` without overflow."""
    y: Array = np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
    return y


@_row(gradient=lambda dy, y: dy * (1 - y * y), kernel=0, onnx="Tanh")
def tanh(x: Array) -> Array:
    """Return the hyperbolic tangent."""
    y: Array = np.tanh(x)
    return y


# Those that no cell has.
_SELU_SCALE, _SELU_ALPHA = 1.05070098735548049342, 1.67326324235437728482


@_row(
    gradient=lambda dy, y: (
        dy * np.where(y > 0, y.dtype.type(_SELU_SCALE), y + y.dtype.type(_SELU_SCALE * _SELU_ALPHA))
    )
)
def selu(x: Array) -> Array:
    """Return ``s x`` where x is positive, ``s a (exp(x) - 1)`` elsewhere (Klambauer et al. 2017)."""
    scale, alpha = x.dtype.type(_SELU_SCALE), x.dtype.type(_SELU_ALPHA)
    y: Array = scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))
    return y


@_row(gradient=lambda dy, y: dy * ((y > 0) & (y < 6)))
def relu6(x: Array) -> Array:
    """Return ``x`` within [0, 6]."""
    y: Array = np.clip(x, 0, 6)
    return y


def _silu_gradient(dy: Array, x: Array) -> Array:
    s = sigmoid(x)
    return dy * (s * (1 + x * (1 - s)))


@_row(gradient=_silu_gradient, of_input=True)
def silu(x: Array) -> Array:
    """Return ``x sigmoid(x)``."""
    return x * sigmoid(x)


swish = silu  # Keras's other name


def _softmax_gradient(dy: Array, y: Array) -> Array:
    dx: Array = y * (dy - (dy * y).sum(axis=-1, keepdims=True))
    return dx


@_row(gradient=_softmax_gradient, onnx="Softmax")
def softmax(x: Array) -> Array:
    """Return ``exp(x) / sum(exp(x))`` over the last axis."""
    e: Array = np.exp(x - x.max(axis=-1, keepdims=True))
    e /= e.sum(axis=-1, keepdims=True)
    return e


def _log_softmax_gradient(dy: Array, y: Array) -> Array:
    dx: Array = dy - np.exp(y) * dy.sum(axis=-1, keepdims=True)
    return dx


@_row(gradient=_log_softmax_gradient, onnx="LogSoftmax")
def log_softmax(x: Array) -> Array:
    """Return the logarithm of `softmax`, without rounding small ones to zero before."""
    shifted = x - x.max(axis=-1, keepdims=True)
    y: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return y


# Activations that cells have and no layer alone.
TABLE["scaled_tanh"] = Row(
    kernel=9,
    parameters=(1.0, 1.0),
    alphas=("an alpha other than 0", lambda alpha: alpha != 0),
    onnx_cell="ScaledTanh",
    onnx_defaults=(None, None),
)
TABLE["thresholded_relu"] = Row(
    kernel=10,
    parameters=(1.0,),
    alphas=("alpha >= 0", lambda alpha: alpha >= 0),
    onnx_cell="ThresholdedRelu",
    onnx_defaults=(None,),
)


def kept(activation: Activation, x: Array, y: Array) -> Array:
    """Return what `gradient` needs of an activation's input and output: one of them."""
    return x if TABLE[activation.__name__].of_input else y


def gradient(activation: Activation, dy: Array, kept: Array) -> Array:
    """Return the gradient of an activation's input.

    Parameters
    ----------
    activation : callable
        One of this module's functions.
    dy : ndarray
        Gradient of the output.
    kept : ndarray
        What the function of that name returns for input and output, same shape.

    Returns
    -------
    ndarray
        Gradient of the input, same shape; it may be ``dy`` itself.
    """
    return _GRADIENTS[activation](dy, kept)


def get(identifier: object, name: str = "activation") -> Activation:
    """Return the function that a name means.

    Parameters
    ----------
    identifier : str or callable or None
        A name, one of this module's functions, or None for `linear`.
    name : str
        The argument's name, for the message.

    Raises
    ------
    ValueError
        If it is unknown, or a function whose derivative is not known here.
    """
    if identifier is None:
        return linear
    for function in _GRADIENTS:
        if identifier is function:
            return function
    names = {function.__name__: function for function in _GRADIENTS}
    return checks.lookup(identifier, name, {**names, "swish": silu})


def serialize(activation: Activation) -> str:
    """Return the name from which `get` finds the function again."""
    return activation.__name__
