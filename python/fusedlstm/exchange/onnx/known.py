"""What does not depend on the numbers in a graph's input: constants, sizes, and initial states of zeros.

Numbers of float16 are float32 here, which layers have.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fusedlstm.base import limits
from fusedlstm.exchange.onnx.halves import wide
from fusedlstm.exchange.onnx.inputs import integers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fusedlstm.exchange.onnx.file import Array
    from fusedlstm.exchange.onnx.steps import Step

# The longest vector of sizes that is computed with: graphs have one of a tensor's axes.
_LONGEST = 64
# Operators whose results are zeros where what they take numbers from is, and make no array for it.
_VIEWING = {"Expand", "Identity", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
# Those that would make an array, and how many of their inputs they take numbers from.
_COPYING = {"Cast": 1, "Concat": None, "Gather": 1, "Reshape": 1}
# Operators that make no more numbers than they are given.
_ARRANGING = {"Cast", "Concat", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}


class Known:
    """Constants, sizes and zeros of a graph by name.

    Sizes are computed for an input of one shape. Zeros are not made: a file may ask for any number of them.

    Parameters
    ----------
    constants : mapping of str to array
    """

    def __init__(self, constants: Mapping[str, Array]) -> None:
        self._constants = {name: wide(array) for name, array in constants.items()}
        self._most = sum(array.size for array in constants.values())
        self._sizes: dict[str, Array] = {}
        # As views of one number; None where the shape is not known.
        self._zeros: dict[str, Array | None] = {}
        # Which constants are zeros, of those that were asked for.
        self._all_zero: dict[str, bool] = {}

    def add(self, constants: Mapping[str, Array]) -> None:
        """Add those of a branch."""
        self._constants |= {name: wide(array) for name, array in constants.items()}
        self._most += sum(array.size for array in constants.values())

    def __contains__(self, name: str) -> bool:
        return name in self._constants or name in self._sizes

    def __getitem__(self, name: str) -> Array:
        if name in self._sizes:
            return self._sizes[name]
        if name in self._constants:
            return self._constants[name]
        raise ValueError(f"expected a constant, got {name!r}, which is computed or given")

    def is_zero(self, name: str) -> bool:
        """Return whether a value is zeros only."""
        if name in self._zeros:
            return True
        if name in self._constants and name not in self._all_zero:
            # Going through it takes about as long as making it.
            limits.claim(self._constants[name].nbytes, f"{name!r:.80}")
            self._all_zero[name] = not self._constants[name].any()
        return self._all_zero.get(name, False)

    def shape(self, step: Step, shape: Sequence[int]) -> None:
        """Follow a Shape node over a value of this shape."""
        start, end = step.attributes.get("start", 0), step.attributes.get("end")
        self._sizes[step.outputs[0]] = np.asarray(shape[start:end], np.int64)

    def read(self, step: Step) -> None:
        """Follow a node all of whose inputs are known; one of which nothing can be told is passed over."""
        names = [name for name in step.inputs if name]
        known = all(name in self for name in names)
        arrays = [self[name] if name else None for name in step.inputs] if known else []
        if known and step.operator in _ARRANGING and any(name in self._constants for name in names):
            if sum(self[name].size for name in names) > self._most:
                raise ValueError(f"expected at most the {self._most} elements of all constants")
            result = step.run(arrays)[0]
            assert result is not None
            self._constants[step.outputs[0]] = wide(result)
        elif self._read_zeros(step, names) or not known:
            return
        elif all(array is None or (array.size <= _LONGEST and array.dtype.kind != "f") for array in arrays):
            for name, result in zip(step.outputs, step.run(arrays), strict=False):
                if result is not None and result.size <= _LONGEST and result.dtype.kind != "f":
                    self._sizes[name] = result

    def _read_zeros(self, step: Step, names: list[str]) -> bool:
        """Follow a node that makes or moves zeros, or reads their shape; return whether it is one."""
        output, operator = step.outputs[0], step.operator
        first = self._zeros.get(names[0]) if names else None
        if operator == "ConstantOfShape" and names[0] in self:
            shape = integers(self[names[0]], "shape")
            value = step.run([np.ones(1, np.int64)])[0]
            assert value is not None
            if value.dtype.kind == "f" and not value.any():
                self._zeros[output] = np.broadcast_to(value.reshape(()), shape)
                return True
            return math.prod(shape) > _LONGEST
        if operator == "Shape" and first is not None:
            self.shape(step, first.shape)
            return True
        if operator in _VIEWING and self.is_zero(names[0]):
            zeros = self._constants[names[0]] if first is None and names[0] in self._constants else first
            known = zeros is not None and all(name in self for name in names[1:])
            others = [self[name] if name else None for name in step.inputs[1:]] if known else []
            self._zeros[output] = step.run([zeros, *others])[0] if known else None
            return zeros is None or zeros.dtype.kind == "f"
        if operator in _COPYING and all(self.is_zero(name) for name in names[: _COPYING[operator]]):
            self._zeros[output] = None
        return False
