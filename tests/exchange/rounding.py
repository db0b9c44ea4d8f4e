"""How far an LSTM's outputs may be from those of exact products, if x, h and weights are rounded.

The cell is the usual one. Bounds are of the worst case, step by step: sigmoid's slope is at most 1/4 and
tanh's 1; products of two numbers that are both off by something are taken in whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Rounding:
    """What is done to x and h before they are multiplied.

    Attributes
    ----------
    x : callable
        Returns the largest error of each element of x (B, T, I), to which x can be added, of x and how far
        that may be off before.
    h : float
        The largest error of an element of h, which is from -1 to 1.
    """

    x: Callable[[Array, Array], Array]
    h: float

    def with_x(self, error: Array) -> Rounding:
        """Return the same with an error of x that is known."""
        return Rounding(lambda x, dx: error, self.h)  # noqa: ARG005


# Here each row has 127 steps to its largest element; a rounded number is off by half a step.
OURS = Rounding(lambda x, dx: (np.abs(x) + dx).max(axis=-1, keepdims=True) / 254, 1 / 254)


def of_tensors(levels: int) -> Rounding:
    """Return the rounding of a whole tensor to `levels` steps from its smallest to its largest number, or 0.

    ONNX Runtime has 255 of them. PyTorch has 127, as its sums on some processors have no room for more.
    """

    def of_x(x: Array, dx: Array) -> Array:
        return np.asarray((max((x + dx).max(), 0.0) - min((x - dx).min(), 0.0)) / (2 * levels))

    return Rounding(of_x, 1 / levels)


def reach(
    x: Array,
    weights: Sequence[Array],
    rounding: Rounding,
    *,
    dx: Array | None = None,
    moved: Sequence[Array] | None = None,
    state: Sequence[Array] | None = None,
) -> tuple[Array, Array]:
    """Return y (B, T, H) of exact products in float64, and how far it may be off with rounded ones.

    Parameters
    ----------
    x : array (B, T, I)
    weights : sequence of array
        Kernel, recurrent kernel and bias, as layers have them.
    rounding : Rounding
    dx : array, optional
        How far x may be off before it is rounded.
    moved : two arrays, optional
        How far the elements of both matrices may be off.
    state : two arrays, optional
        h and c before the first step.
    """
    W, R, b = (np.asarray(a, np.float64) for a in weights)
    dW, dR = (np.zeros_like(W), np.zeros_like(R)) if moved is None else moved
    x = np.asarray(x, np.float64)
    dx = np.zeros_like(x) if dx is None else dx
    off_x = rounding.x(x, dx) + dx
    B, T, H = len(x), x.shape[1], len(R)
    zero = np.zeros((B, H))
    h, c = (zero, zero) if state is None else (np.asarray(s, np.float64) for s in state)
    dh, dc, outputs, limits = zero, zero, [], []
    for t in range(T):
        off_h = dh + rounding.h
        z = x[:, t] @ W + h @ R + b
        dz = off_x[:, t] @ np.abs(W) + off_h @ np.abs(R)
        dz = dz + (np.abs(x[:, t]) + off_x[:, t]) @ dW + (np.abs(h) + off_h) @ dR
        i, f, g, o = np.split(z, 4, axis=1)
        di, df, dg, do = np.split(dz, 4, axis=1)
        i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
        g = np.tanh(g)
        di, df, do = (np.minimum(d / 4, 1) for d in (di, df, do))
        dg = np.minimum(dg, 2)
        dc = (f + df) * dc + np.abs(c) * df + (i + di) * dg + np.abs(g) * di
        c = f * c + i * g
        dh = (o + do) * np.minimum(dc, 2) + np.abs(np.tanh(c)) * do
        h = o * np.tanh(c)
        outputs.append(h)
        limits.append(dh)
    return np.stack(outputs, 1), np.stack(limits, 1)


def assert_within(got: Array, want: Array, limit: Array) -> None:
    """Fail if an element is further off than its limit, or if the limit allows anything."""
    error = np.abs(got - want)
    assert (error <= limit).all(), f"{error.max()} of {limit[error > limit].min()}"
    # A limit as large as the numbers would allow zeros, or gates in another order.
    assert limit.max() < np.abs(want).max()
