"""ONNX Runtime's operator DynamicQuantizeLSTM on the kernels of this package, and layers as its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fusedlstm.base import limits
from fusedlstm.exchange.integers import POLICY, as_integers, check_scale, dequantized
from fusedlstm.exchange.onnx.cell import FROM_ONNX, TO_ONNX, reordered
from fusedlstm.exchange.onnx.contrib import INPUTS
from fusedlstm.exchange.onnx.lstm import LSTMOperator, directions_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fusedlstm.exchange.onnx.file import Array
    from fusedlstm.layers import LSTM

_WEIGHTS = ("W", "R", "B", "P", "W_scale", "W_zero_point", "R_scale", "R_zero_point")


class QuantizedLSTM(LSTMOperator):
    """A DynamicQuantizeLSTM node with its weights packed.

    W (D, I, 4H) and R (D, H, 4H) are integers of 8 bits, the other way round than LSTM's; scales and zero
    points are (D,) or, for each column, (D, 4H). The kernels round each column of the dequantized matrices
    to 127 steps of its own (`dequantized`), and each row of X and of h to 127 steps in each direction; ONNX
    Runtime rounds all of X, and all rows of h, to 255 steps from the smallest to the largest number.

    Parameters and errors as those of `LSTMOperator`.
    """

    places: ClassVar[Mapping[int, str]] = {INPUTS.index(name): name for name in _WEIGHTS}

    def __init__(
        self, attributes: dict[str, Any], weights: Mapping[str, Array], wanted: Sequence[bool]
    ) -> None:
        D = len(directions_of(attributes))
        R = weights["R"]
        if R.ndim != 3 or len(R) != D or not R.size or R.shape[2] != 4 * R.shape[1]:
            raise ValueError(f"R: expected shape ({D}, H, 4H), got {R.shape}")
        columns = R.shape[2]
        W = weights["W"]
        if W.ndim != 3 or W.shape[::2] != (D, columns) or not W.size:
            raise ValueError(f"W: expected shape ({D}, I, {columns}), got {W.shape}")
        self._matrices = [_Matrix(name, weights, D, columns) for name in ("W", "R")]
        given = {name: weights[name] for name in ("B", "P") if name in weights}
        for matrix in self._matrices:
            limits.claim(4 * matrix.integers.size, matrix.name)
            given[matrix.name] = np.stack([matrix.widened(d) for d in range(D)]).transpose(0, 2, 1)
        super().__init__(attributes, given, wanted, compute="int8")
        self.policy = POLICY

    def kernels(self, direction: int) -> list[Array]:
        """Return the matrices as float32 ones, of which the same integers are packed again."""
        return [reordered(matrix.widened(direction), FROM_ONNX, 4) for matrix in self._matrices]


class _Matrix:
    """W or R of a node, with scales and zero points."""

    def __init__(self, name: str, weights: Mapping[str, Array], directions: int, columns: int) -> None:
        self.name = name
        self.integers = weights[name]
        self._scale, self._zero = weights[f"{name}_scale"], weights[f"{name}_zero_point"]
        kind = weights["W"].dtype
        if kind not in (np.int8, np.uint8):
            raise ValueError(f"{name}: expected int8 or uint8, got {kind}")
        dtypes = {"": kind, "_scale": np.dtype(np.float32), "_zero_point": kind}
        shapes = ((directions,), (directions, columns))
        for ending, dtype in dtypes.items():
            array = weights[name + ending]
            if array.dtype != dtype:
                raise ValueError(f"{name}{ending}: expected {dtype}, got {array.dtype}")
            if ending and array.shape not in shapes:
                raise ValueError(
                    f"{name}{ending}: expected shape {shapes[0]} or {shapes[1]}, got {array.shape}"
                )
        check_scale(self._scale, f"{name}_scale")

    def widened(self, direction: int) -> Array:
        """Return a direction's float32 matrix (I, 4H) or (H, 4H)."""
        return dequantized(self.integers[direction], self._scale[direction], self._zero[direction])


def quantized_weights(layers: Sequence[LSTM]) -> dict[str, Array]:
    """Return W, R, their scales and zero points, of layers in the order of a node's directions."""
    pairs = [as_integers(layer.kernel.numpy(), layer.recurrent_kernel.numpy()) for layer in layers]
    result = {}
    for name, matrices in zip("WR", zip(*pairs, strict=True), strict=True):
        result[name] = np.stack([reordered(integers, TO_ONNX, 4) for integers, _ in matrices])
        scales = np.stack([reordered(factors, TO_ONNX, 4) for _, factors in matrices])
        # Any scale will do for zeros, and others may divide by it.
        result[f"{name}_scale"] = np.where(scales == 0, np.float32(1), scales)
        result[f"{name}_zero_point"] = np.zeros(scales.shape, np.int8)
    return result
