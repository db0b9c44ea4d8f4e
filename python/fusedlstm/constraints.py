"""Constraints of weights, with Keras's names, defaults and formulas: applied after each optimizer step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import config
from fusedlstm.base import checks
from fusedlstm.base.registry import Configured, Registry, serialize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusedlstm.base.types import Array

__all__ = [
    "Constraint",
    "MaxNorm",
    "MinMaxNorm",
    "NonNeg",
    "UnitNorm",
    "get",
    "max_norm",
    "min_max_norm",
    "non_neg",
    "serialize",
    "unit_norm",
]


class Constraint(Configured):
    """Base of constraints: a callable that returns the nearest array that is allowed, in its own sense."""

    def __call__(self, w: Array) -> Array:
        """Return an allowed array of the same shape and dtype."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__")


class NonNeg(Constraint):
    """Negative weights become 0."""

    def __call__(self, w: Array) -> Array:
        """Return ``max(w, 0)``."""
        allowed: Array = np.maximum(w, 0)
        return allowed


class MinMaxNorm(Constraint):
    """Vectors of weights are scaled so that their norm is in [min_value, max_value], or comes closer to it.

    As in Keras, a norm n becomes ``n / (n + 1e-7)`` times what is wanted.

    Parameters
    ----------
    min_value, max_value : float
        The interval.
    rate : float
        1 for the interval at once; less leaves the share ``1 - rate`` of the old norm in the new one.
    axis : int or sequence of int
        Along which a vector lies: 0 for the incoming weights of each unit in a kernel (inputs, units).

    Raises
    ------
    TypeError, ValueError
        If an argument is not such a number.
    """

    def __init__(
        self,
        min_value: float = 0.0,
        max_value: float = 1.0,
        rate: float = 1.0,
        axis: int | Sequence[int] = 0,
    ) -> None:
        self.min_value = checks.non_negative(min_value, "min_value")
        self.max_value = checks.non_negative(max_value, "max_value")
        if self.max_value < self.min_value:
            raise ValueError(f"max_value: expected at least min_value ({min_value}), got {max_value}")
        self.rate = checks.share(rate, "rate")
        self.axis = _axes(axis)

    def __call__(self, w: Array) -> Array:
        """Return the scaled vectors."""
        norms = _norms(w, self.axis)
        wanted = norms.clip(self.min_value, self.max_value)
        if self.rate < 1:
            wanted = self.rate * wanted + (1 - self.rate) * norms
        return _scaled(w, wanted / (norms + config.epsilon()))


class MaxNorm(MinMaxNorm):
    """Vectors of weights whose norm is above ``max_value`` are scaled down to it; see `MinMaxNorm`."""

    def __init__(self, max_value: float = 2, axis: int | Sequence[int] = 0) -> None:
        super().__init__(max_value=max_value, axis=axis)


class UnitNorm(Constraint):
    """Vectors of weights are scaled to norm 1; ``axis`` as in `MinMaxNorm`. Zeros stay zeros."""

    def __init__(self, axis: int | Sequence[int] = 0) -> None:
        self.axis = _axes(axis)

    def __call__(self, w: Array) -> Array:
        """Return ``w / (norm + 1e-7)``."""
        return _scaled(w, 1 / (_norms(w, self.axis) + config.epsilon()))


max_norm, min_max_norm, non_neg, unit_norm = MaxNorm, MinMaxNorm, NonNeg, UnitNorm

REGISTRY = Registry(
    Constraint,
    {"max_norm": MaxNorm, "min_max_norm": MinMaxNorm, "non_neg": NonNeg, "unit_norm": UnitNorm},
)
get = REGISTRY.optional


def _axes(axis: Any) -> int | list[int]:
    given = axis if isinstance(axis, tuple | list) else [axis]
    checks.few_axes(given, "axis")
    most = checks.MOST_AXES
    for item in given:
        if isinstance(item, bool) or not isinstance(item, int | np.integer):
            raise TypeError(f"axis: expected an integer or a list of integers, got {axis!r:.80}")
        if not -most <= item < most:
            raise ValueError(f"axis: expected axes from {-most} to {most - 1}, got {item}")
    return [int(item) for item in given] if isinstance(axis, tuple | list) else int(axis)


def _norms(w: Array, axis: int | list[int]) -> Array:
    """Return the norms of the vectors along `axis` in float64, with axes of length 1."""
    squares = np.square(w, dtype=np.float64)
    norms: Array = np.sqrt(squares.sum(axis=tuple(axis) if isinstance(axis, list) else axis, keepdims=True))
    return norms


def _scaled(w: Array, factors: Array) -> Array:
    return w * factors.astype(w.dtype)
