"""Weights as integers of 8 bits and what each column of them is multiplied by, as others keep them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fusedlstm import ops

if TYPE_CHECKING:
    import numpy.typing as npt

    from fusedlstm.base.types import Array

# The policy of layers whose weights these are.
POLICY = "int8_from_float32"
# 255 times as much is a float32 number.
_LARGEST = 1e36


def as_integers(kernel: Array, recurrent_kernel: Array) -> list[tuple[Array, Array]]:
    """Return int8 integers and float32 factors of columns of both matrices, as the kernels round them.

    A column's factor is its largest weight over 127; that of a column of zeros is 0.
    """
    packed = ops.LSTMWeights(kernel, recurrent_kernel, compute="int8")
    factors = packed.factors
    assert factors is not None
    return [
        (np.rint(matrix / np.where(scale == 0, 1, scale)).astype(np.int8), scale)
        for matrix, scale in zip(packed.unpack(), factors, strict=True)
    ]


def check_scale(scale: npt.ArrayLike, name: str) -> None:
    """Raise `ValueError` for scales that are no finite numbers, or would make such as are none."""
    numbers = np.atleast_1d(scale)
    outside = ~((numbers >= 0) & (numbers <= _LARGEST))
    if outside.any():
        raise ValueError(f"{name}: expected numbers from 0 to {_LARGEST}, got {numbers[outside][0]}")


def dequantized(integers: Array, scale: npt.ArrayLike, zero: npt.ArrayLike = 0) -> Array:
    """Return the float32 matrix of integers of 8 bits: their distance from `zero` times `scale`.

    Packed again, each column is rounded to 127 steps of its own. Where 127 is the largest distance in a
    column, these are the integers that came. The factor is the one that came if it was made so, and off by
    a unit in its last place if no float32 number over 127 is that factor, as for one number in 129. In
    another column a weight moves by up to half a step, which is the column's largest weight over 254.

    Parameters
    ----------
    integers : array (rows, columns) of int8 or uint8
    scale : array (columns,) or one number
        Those that `check_scale` takes.
    zero : array (columns,) or one integer
        What stands for 0.
    """
    matrix: Array = np.subtract(integers, np.asarray(zero, np.float32), dtype=np.float32)
    matrix *= np.asarray(scale, np.float32)
    return matrix
