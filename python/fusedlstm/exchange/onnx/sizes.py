"""How much memory an operator takes for given inputs, known before it runs.

Operators on constants run when a file is read, so that a short file could ask for any amount: a tensor
joined with itself thirty times over has 2**30 times the size.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fusedlstm.exchange.onnx.file import DTYPES
from fusedlstm.exchange.onnx.indexing import counted
from fusedlstm.exchange.onnx.inputs import Inputs, integers, required
from fusedlstm.exchange.onnx.pooling import Windows

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusedlstm.exchange.onnx.file import Array

    Size: TypeAlias = Callable[[Inputs, dict[str, Any]], int]


def needed_bytes(operator: str, inputs: Inputs, attributes: dict[str, Any]) -> int:
    """Return the bytes of an operator's results, with those of inputs that it has to go through.

    Raises
    ------
    ValueError
        If the inputs do not fit the operator or each other.
    """
    return _SIZES.get(operator, _like_inputs)(inputs, attributes)


def _size(shape: tuple[int, ...]) -> int:
    """Return the size of an array; results of one without elements may have as many as its other axes."""
    return math.prod(max(1, length) for length in shape)


def _arrays(inputs: Inputs) -> list[Array]:
    return [array for array in inputs if array is not None]


def _like_inputs(inputs: Inputs, _attributes: dict[str, Any]) -> int:
    """Return twice the size of all inputs together, which most results are not larger than."""
    return 2 * sum(_size(array.shape) * array.itemsize for array in _arrays(inputs))


def _nothing(inputs: Inputs, _attributes: dict[str, Any]) -> int:
    """Return next to nothing, for views of inputs and for what is in the file already."""
    return sum(8 * array.ndim for array in _arrays(inputs))


def _broadcast(inputs: Inputs, _attributes: dict[str, Any]) -> int:
    arrays = _arrays(inputs)
    shape = np.broadcast_shapes(*(array.shape for array in arrays))
    largest: int = max((array.itemsize for array in arrays), default=0)
    return _size(shape) * largest


def _cast(inputs: Inputs, attributes: dict[str, Any]) -> int:
    kind = DTYPES.get(attributes.get("to", 0))
    return _like_inputs(inputs, attributes) if kind is None else required(inputs, 1)[0].size * kind.itemsize


def _constant_of_shape(inputs: Inputs, _attributes: dict[str, Any]) -> int:
    return math.prod(integers(required(inputs, 1)[0], "shape")) * 8  # of the largest type


def _expand(inputs: Inputs, _attributes: dict[str, Any]) -> int:
    x, shape = required(inputs, 2)
    return math.prod(np.broadcast_shapes(x.shape, tuple(integers(shape, "shape")))) * x.itemsize


def _gather(inputs: Inputs, attributes: dict[str, Any]) -> int:
    x, indices = required(inputs, 2)
    axis = attributes.get("axis", 0)
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"axis: expected one of a tensor with {x.ndim} axes, got {axis}")
    others = math.prod(size for number, size in enumerate(x.shape) if number != axis % x.ndim)
    result: int = indices.size * others * x.itemsize
    return indices.nbytes + result


def _gather_nd(inputs: Inputs, attributes: dict[str, Any]) -> int:
    x, indices = required(inputs, 2)
    if not indices.ndim or not indices.shape[-1]:
        raise ValueError(f"indices: expected at least one for each element, got shape {indices.shape}")
    each = math.prod(x.shape[attributes.get("batch_dims", 0) + indices.shape[-1] :])
    # The indices are made int64.
    return int(8 * indices.size + indices.size // indices.shape[-1] * each * x.itemsize)


def _range(inputs: Inputs, _attributes: dict[str, Any]) -> int:
    start, count, _ = counted(inputs)
    return 3 * count * start.itemsize


def _with_indices(inputs: Inputs, attributes: dict[str, Any]) -> int:
    """Return the size of the inputs, with indices of as many elements and what they are sorted in."""
    return _like_inputs(inputs, attributes) + 32 * sum(_size(array.shape) for array in _arrays(inputs))


def _product(inputs: Inputs, attributes: dict[str, Any]) -> int:
    a, b = required(inputs, 2)
    shared = a.shape[0 if attributes.get("transA", 0) and a.ndim == 2 else -1] if a.ndim else 1
    rows, columns = _size(a.shape) // max(1, shared), _size(b.shape) // max(1, shared)
    return a.nbytes + b.nbytes + rows * columns * a.itemsize


def _tile(inputs: Inputs, _attributes: dict[str, Any]) -> int:
    x, repeats = required(inputs, 2)
    times = math.prod(max(0, count) for count in integers(repeats, "repeats"))
    return int(times * _size(x.shape) * x.itemsize)


def _error_function(inputs: Inputs, _attributes: dict[str, Any]) -> int:
    """Return the size of lists of numbers, through which these go."""
    return 96 * sum(_size(array.shape) for array in _arrays(inputs))


def _windows(inputs: Inputs, attributes: dict[str, Any]) -> int:
    """Return the size of all windows, as if they were made: that is how long it takes to go through them."""
    (x,) = required(inputs, 1)
    if x.ndim != 3:
        return 0
    windows = Windows(x.shape[-1], attributes)
    each = windows.count * windows.size + 2 * windows.length
    return int(_size(x.shape[:-1]) * each * x.itemsize)


def _normalization(inputs: Inputs, attributes: dict[str, Any]) -> int:
    # Scale and shift may have more axes than what they are applied to.
    return 4 * _broadcast(inputs, attributes)


_SIZES: dict[str, Size] = {
    "Add": _broadcast,
    "And": _broadcast,
    "ArgMax": _with_indices,
    "ArgMin": _with_indices,
    "AveragePool": _windows,
    "BatchNormalization": lambda inputs, attributes: 2 * _like_inputs(inputs, attributes),
    "Cast": _cast,
    "Constant": _nothing,
    "ConstantOfShape": _constant_of_shape,
    "CumSum": lambda inputs, attributes: 2 * _like_inputs(inputs, attributes),
    "Div": lambda inputs, attributes: 3 * _broadcast(inputs, attributes),
    "Equal": _broadcast,
    "Erf": _error_function,
    "Expand": _expand,
    "Flatten": _nothing,
    "Gather": _gather,
    "GatherElements": _with_indices,
    "GatherND": _gather_nd,
    "Gelu": _error_function,
    "Gemm": _product,
    "Greater": _broadcast,
    "GreaterOrEqual": _broadcast,
    "Identity": _nothing,
    "LayerNormalization": _normalization,
    "Less": _broadcast,
    "LessOrEqual": _broadcast,
    "MatMul": _product,
    # Each pair of them has a result.
    "Max": lambda inputs, attributes: len(inputs) * _broadcast(inputs, attributes),
    "MaxPool": _windows,
    "Min": lambda inputs, attributes: len(inputs) * _broadcast(inputs, attributes),
    "Mod": _broadcast,
    "Mul": _broadcast,
    "Or": _broadcast,
    "PRelu": lambda inputs, attributes: 3 * _broadcast(inputs, attributes),
    "Pow": lambda inputs, attributes: 2 * _broadcast(inputs, attributes),
    "Range": _range,
    "Shape": _nothing,
    "Slice": _nothing,
    "Split": _nothing,
    "Squeeze": _nothing,
    "Sub": _broadcast,
    "Tile": _tile,
    "TopK": _with_indices,
    "Transpose": _nothing,
    "Unsqueeze": _nothing,
    "Where": _broadcast,
}
