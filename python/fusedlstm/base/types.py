"""Types of arrays, of shapes and of masks."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "Mask", "Shape"]

Array: TypeAlias = npt.NDArray[np.floating[Any]]
Shape: TypeAlias = tuple[int | None, ...]
Mask: TypeAlias = npt.NDArray[np.bool_]
