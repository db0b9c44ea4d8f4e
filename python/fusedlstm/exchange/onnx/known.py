"""What does not depend on the numbers in a graph's input: constants, sizes, and initial states of zeros."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fusedlstm.exchange.onnx.inputs import integers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fusedlstm.exchange.onnx.file import Array
    from fusedlstm.exchange.onnx.model import Step

__all__ = ["Known"]

# The longest vector of sizes that is computed with: graphs have one of a tensor's axes.
_LONGEST = 64
# Operators whose results are zeros where all that they take numbers from are, and which inputs these are.
_MOVING = {
    "Cast": 1,
    "Concat": None,
    "Expand": 1,
    "Gather": 1,
    "Identity": 1,
    "Reshape": 1,
    "Slice": 1,
    "Squeeze": 1,
    "Transpose": 1,
    "Unsqueeze": 1,
}
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
        self._constants = dict(constants)
        self._most = sum(array.size for array in constants.values())
        self._sizes: dict[str, Array] = {}
        self._zeros: set[str] = set()

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
        return name in self._zeros or (name in self._constants and not self._constants[name].any())

    def shape(self, step: Step, shape: Sequence[int]) -> None:
        """Follow a Shape node over a value of this shape."""
        start, end = step.attributes.get("start", 0), step.attributes.get("end")
        self._sizes[step.outputs[0]] = np.asarray(shape[start:end], np.int64)

    def read(self, step: Step) -> None:
        """Follow a node all of whose inputs are known; one of which nothing can be told is passed over."""
        names = [name for name in step.inputs if name]
        if step.operator == "ConstantOfShape" and names and names[0] in self:
            value = step.run([np.ones(1, np.int64)])[0]
            if value is not None and value.dtype.kind == "f":
                self._zeros |= set() if value.any() else {step.outputs[0]}
                return
            if np.prod(integers(self[names[0]], "shape"), dtype=float) > _LONGEST:
                return
        if step.operator in _MOVING and all(self.is_zero(name) for name in names[: _MOVING[step.operator]]):
            self._zeros.add(step.outputs[0])
        arrays = [self[name] if name else None for name in step.inputs if not name or name in self]
        if step.operator in _ARRANGING and all(name in self._constants for name in names):
            if sum(self._constants[name].size for name in names) > self._most:
                raise ValueError(f"expected at most the {self._most} elements of all constants")
            result = step.run(arrays)[0]
            assert result is not None
            self._constants[step.outputs[0]] = result
            return
        small = all(array is None or (array.size <= _LONGEST and array.dtype.kind != "f") for array in arrays)
        if small and len(arrays) == len(step.inputs):
            for name, result in zip(step.outputs, step.run(arrays), strict=False):
                if result is not None and result.size <= _LONGEST and result.dtype.kind != "f":
                    self._sizes[name] = result
