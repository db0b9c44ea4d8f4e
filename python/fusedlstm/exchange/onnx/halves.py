"""Numbers of 16 bits: nodes of float16 compute in float32 and round their results, as in ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fusedlstm.base import limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusedlstm.exchange.onnx.file import Array
    from fusedlstm.exchange.onnx.inputs import Inputs


def in_type(array: Array, dtype: np.dtype[np.generic]) -> Array:
    """Return an array in a floating-point type; what it cannot hold is infinite."""
    with np.errstate(over="ignore"):
        return np.asarray(array.astype(dtype, copy=False))


def wide(array: Array) -> Array:
    """Return an array of float16 in float32, any other as it is."""
    return in_type(array, np.dtype(np.float32)) if array.dtype == np.float16 else array


def widened(inputs: Inputs) -> tuple[Inputs, bool]:
    """Return a node's inputs, and whether all of floating point were float16, which are float32 then."""
    kinds = {array.dtype for array in inputs if array is not None and array.dtype.kind == "f"}
    if kinds != {np.dtype(np.float16)}:
        return inputs, False
    # Twice the bytes of what comes, and as many for the results.
    limits.claim(4 * sum(array.nbytes for array in inputs if array is not None), "results")
    return [None if array is None else wide(array) for array in inputs], True


def narrowed(results: Sequence[Array | None]) -> list[Array | None]:
    """Return a node's results, those of float32 rounded to float16."""
    half = np.dtype(np.float16)
    return [
        array if array is None or array.dtype != np.float32 else in_type(array, half) for array in results
    ]
