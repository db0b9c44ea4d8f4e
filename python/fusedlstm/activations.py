"""Activation functions, each with its derivative expressed by its own output."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from fusedlstm.base import checks
from fusedlstm.base.types import Array

Activation: TypeAlias = Callable[[Array], Array]


def linear(x: Array) -> Array:
    """Return ``x`` itself."""
    return x


def relu(x: Array) -> Array:
    """Return ``max(x, 0)``; NaN stays NaN."""
    y: Array = np.maximum(x, 0)
    return y


def elu(x: Array) -> Array:
    """Return ``x`` where it is positive, ``exp(x) - 1`` elsewhere."""
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def leaky_relu(x: Array) -> Array:
    """Return ``x`` where it is positive, ``0.2 x`` elsewhere."""
    return np.where(x > 0, x, x * x.dtype.type(0.2))


def exponential(x: Array) -> Array:
    """Return ``exp(x)``."""
    y: Array = np.exp(x)
    return y


def softsign(x: Array) -> Array:
    """Return ``x / (1 + |x|)``."""
    y: Array = x / (1 + np.abs(x))
    return y


def hard_sigmoid(x: Array) -> Array:
    """Return ``x / 6 + 1 / 2`` within [0, 1]."""
    y: Array = np.clip(x / 6 + x.dtype.type(0.5), 0, 1)
    return y


def sigmoid(x: Array) -> Array:
    """Return ``1 / (1 + exp(-x))``, with full relative precision on both sides."""
    e = np.exp(-np.abs(x))
    y: Array = np.where(x >= 0, 1, e) / (1 + e)
    return y


def softplus(x: Array) -> Array:
    """Return ``log(1 + exp(x))`` without overflow."""
    y: Array = np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
    return y


def tanh(x: Array) -> Array:
    """Return the hyperbolic tangent."""
    y: Array = np.tanh(x)
    return y


def softmax(x: Array) -> Array:
    """Return ``exp(x) / sum(exp(x))`` over the last axis."""
    e: Array = np.exp(x - x.max(axis=-1, keepdims=True))
    e /= e.sum(axis=-1, keepdims=True)
    return e


def _softmax_gradient(dy: Array, y: Array) -> Array:
    dx: Array = y * (dy - (dy * y).sum(axis=-1, keepdims=True))
    return dx


def log_softmax(x: Array) -> Array:
    """Return the logarithm of `softmax`, without rounding small ones to zero before."""
    shifted = x - x.max(axis=-1, keepdims=True)
    y: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return y


def _log_softmax_gradient(dy: Array, y: Array) -> Array:
    dx: Array = dy - np.exp(y) * dy.sum(axis=-1, keepdims=True)
    return dx


_GRADIENTS: dict[Activation, Callable[[Array, Array], Array]] = {
    linear: lambda dy, y: dy,  # noqa: ARG005
    relu: lambda dy, y: dy * (y > 0),
    elu: lambda dy, y: dy * np.where(y > 0, 1, y + 1),
    leaky_relu: lambda dy, y: dy * np.where(y > 0, 1, y.dtype.type(0.2)),
    exponential: lambda dy, y: dy * y,
    softsign: lambda dy, y: dy * (1 - np.abs(y)) ** 2,
    hard_sigmoid: lambda dy, y: dy * np.where((y > 0) & (y < 1), y.dtype.type(1 / 6), 0),
    sigmoid: lambda dy, y: dy * (y * (1 - y)),
    softplus: lambda dy, y: dy * -np.expm1(-y),
    tanh: lambda dy, y: dy * (1 - y * y),
    softmax: _softmax_gradient,
    log_softmax: _log_softmax_gradient,
}
_BY_NAME: dict[str, Activation] = {function.__name__: function for function in _GRADIENTS}


def gradient(activation: Activation, dy: Array, y: Array) -> Array:
    """Return the gradient of an activation's input.

    Parameters
    ----------
    activation : callable
        One of this module's functions.
    dy : ndarray
        Gradient of the output.
    y : ndarray
        The output, same shape.

    Returns
    -------
    ndarray
        Gradient of the input, same shape; it may be ``dy`` itself.
    """
    return _GRADIENTS[activation](dy, y)


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
    return checks.lookup(identifier, name, _BY_NAME)


def serialize(activation: Activation) -> str:
    """Return the name from which `get` finds the function again."""
    return activation.__name__
