"""Types of arrays, of shapes and of masks."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.floating[Any]]
Shape: TypeAlias = tuple[int | None, ...]
Mask: TypeAlias = npt.NDArray[np.bool_]
# An array, and the number of its version.
Seen: TypeAlias = tuple[Array, int]


class Versioned(Protocol):
    """A variable, as `versions` knows it."""

    version: int
    _data: Array

    def newest(self) -> Seen:
        """Return the array and its version, whatever the calling thread sees."""

    def writable(self) -> Array:
        """Return the array for an update in place."""


class Penalty(Protocol):
    """A regularizer, as variables know it."""

    def __call__(self, x: Array) -> float:
        """Return the penalty of an array."""

    def gradient(self, x: Array) -> Array:
        """Return the penalty's gradient."""


class Projection(Protocol):
    """A constraint, as variables know it."""

    def __call__(self, w: Array) -> Array:
        """Return an allowed array of the same shape and dtype."""
