"""Penalties on weights and outputs, with Keras's names, defaults and formulas.

A model's loss is that of its predictions plus the penalties on its trainable weights and on the outputs of
layers; `fit` and `evaluate` report the sum, and gradients are those of the sum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fusedlstm.base import checks
from fusedlstm.base.registry import Configured, Registry, serialize

if TYPE_CHECKING:
    from fusedlstm.base.types import Array

__all__ = [
    "L1",
    "L1L2",
    "L2",
    "OrthogonalRegularizer",
    "Regularizer",
    "get",
    "l1",
    "l1_l2",
    "l2",
    "orthogonal_regularizer",
    "serialize",
]


class Regularizer(Configured):
    """Base of regularizers. A subclass defines the penalty of an array and its `gradient`.

    There is no automatic differentiation: a regularizer of your own has a gradient, too.
    """

    def __call__(self, x: Array) -> float:
        """Return the penalty of an array."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__")

    def gradient(self, x: Array) -> Array:
        """Return the penalty's gradient, of the array's shape and dtype."""
        raise NotImplementedError(f"{type(self).__name__} must define gradient")


class L1L2(Regularizer):
    """``l1 sum(|x|) + l2 sum(x^2)``.

    Parameters
    ----------
    l1, l2 : float
        Factors, at least 0.

    Raises
    ------
    TypeError, ValueError
        If one is not such a number.
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1 = checks.non_negative(l1, "l1")
        self.l2 = checks.non_negative(l2, "l2")

    def __call__(self, x: Array) -> float:
        """Return the penalty, summed in float64."""
        penalty = 0.0
        if self.l1:
            penalty += self.l1 * float(np.abs(x).sum(dtype=np.float64))
        if self.l2:
            penalty += self.l2 * float(np.square(x, dtype=np.float64).sum())
        return penalty

    def gradient(self, x: Array) -> Array:
        """Return ``l1 sign(x) + 2 l2 x``."""
        slope: Array = x.dtype.type(2 * self.l2) * x
        if self.l1:
            slope += x.dtype.type(self.l1) * np.sign(x)
        return slope


class L1(L1L2):
    """``l1 sum(|x|)``; see `L1L2`."""

    def __init__(self, l1: float = 0.01) -> None:
        super().__init__(l1=l1)


class L2(L1L2):
    """``l2 sum(x^2)``; see `L1L2`."""

    def __init__(self, l2: float = 0.01) -> None:
        super().__init__(l2=l2)


class OrthogonalRegularizer(Regularizer):
    """``factor`` times the mean magnitude of the cosine between two different rows, or columns, of a matrix.

    Parameters
    ----------
    factor : float
        At least 0.
    mode : {"rows", "columns"}
        Which vectors are to become orthogonal.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or, when it is applied, the array is no matrix with two such vectors.
    """

    def __init__(self, factor: float = 0.01, mode: str = "rows") -> None:
        self.factor = checks.non_negative(factor, "factor")
        self.mode = checks.choice(mode, "mode", ("rows", "columns"))

    def __call__(self, x: Array) -> float:
        """Return the penalty."""
        _, _, cosines, pairs = self._cosines(x)
        return self.factor * 0.5 * float(np.abs(cosines).sum()) / pairs

    def gradient(self, x: Array) -> Array:
        """Return the penalty's gradient; that of a zero vector is zero."""
        units, lengths, cosines, pairs = self._cosines(x)
        slope = self.factor / pairs * (np.sign(cosines) @ units)
        # Only what is across a vector turns it.
        slope -= (slope * units).sum(axis=1, keepdims=True) * units
        slope /= lengths
        result: Array = (slope if self.mode == "rows" else slope.T).astype(x.dtype)
        return result

    def _cosines(self, x: Array) -> tuple[Array, Array, Array, float]:
        """Return unit vectors, lengths, their cosines without the diagonal, and how many pairs there are."""
        if x.ndim != 2 or len(x if self.mode == "rows" else x.T) < 2:
            raise ValueError(f"x: expected a matrix of at least two {self.mode}, got shape {x.shape}")
        vectors = (x if self.mode == "rows" else x.T).astype(np.float64)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        lengths[lengths == 0] = 1
        units = vectors / lengths
        cosines = units @ units.T
        np.fill_diagonal(cosines, 0)
        count = len(units)
        return units, lengths, cosines, count * (count - 1) / 2


l1, l2, l1_l2, orthogonal_regularizer = L1, L2, L1L2, OrthogonalRegularizer

REGISTRY = Registry(
    Regularizer,
    {
        "l1": L1,
        "l1_l2": L1L2,
        "l1l2": L1L2,
        "l2": L2,
        "orthogonal_regularizer": OrthogonalRegularizer,
    },
)
get = REGISTRY.optional
