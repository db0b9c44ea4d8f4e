"""A graph of ONNX nodes in the making."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.exchange.onnx.contrib import DOMAIN, VERSION, is_quantized, stand_ins
from fusedlstm.exchange.onnx.file import import_onnx

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from fusedlstm.base.types import Array

# Version 17 of the standard operators, in a file of version 8: ONNX Runtime 1.12 (2022) and newer read it.
_OPSET, _IR_VERSION = 17, 8
_FIRST, _LAST = np.iinfo(np.int64).min, -1


class Graph:
    """Nodes and tensors, each added under a name of its own.

    Parameters
    ----------
    dtype : str
        The number type of the graph.
    names : iterable of str
        Names of the graph's inputs and outputs, which no node or constant has.
    """

    def __init__(self, dtype: str, names: Iterable[str] = ()) -> None:
        self.onnx = import_onnx("to_onnx")
        self.dtype = np.dtype(dtype)
        self._nodes: list[Any] = []
        self._tensors: dict[str, Any] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._used = set(names)

    def fresh(self, name: str) -> str:
        """Return a name for a node, which is a longer one where another has it."""
        while name in self._used or f"{name}:0" in self._used:
            name += "'"
        self._used.add(name)
        return name

    def add(
        self,
        operator: str,
        inputs: Sequence[str],
        *,
        outputs: int | Sequence[str] = 1,
        name: str = "",
        **attributes: Any,
    ) -> Any:
        """Add a node and return its output's name, or the list of names if there is more than one.

        An attribute ``domain`` is what others than standard operators are from.
        """
        name = name or self.fresh(f"{operator}_{len(self._nodes)}")
        if isinstance(outputs, int):
            outputs = [f"{name}:{i}" for i in range(outputs)] if outputs > 1 else [f"{name}:0"]
        self._nodes.append(
            self.onnx.helper.make_node(operator, list(inputs), list(outputs), name=name, **attributes)
        )
        return outputs[0] if len(outputs) == 1 else list(outputs)

    def tensor(self, name: str, value: npt.ArrayLike, dtype: Any = None) -> str:
        """Add a constant tensor of the graph's number type, or another, and return its name.

        The same tensor is there once; another one under a name that is taken gets a longer name.
        """
        array = np.ascontiguousarray(np.asarray(value, self.dtype if dtype is None else dtype))
        # ascontiguousarray makes a vector of a scalar.
        array = array.reshape(np.shape(value))
        while name in self._used or (
            made := self.onnx.numpy_helper.from_array(array, name)
        ) != self._tensors.setdefault(name, made):
            name += "'"
        return name

    def integers(self, *values: int) -> str:
        """Add a constant vector of integers."""
        return self.tensor(f"integers:{','.join(map(str, values))}", values, np.int64)

    def reversed_steps(self, x: str) -> str:
        """Turn around the first axis."""
        last, first, axis, step = (self.integers(number) for number in (_LAST, _FIRST, 0, -1))
        return str(self.add("Slice", [x, last, first, axis, step]))

    def input(
        self, name: str, shape: Sequence[int | str | None], default: Array | None = None, dtype: Any = None
    ) -> str:
        """Add an input, with a default or without, of the graph's number type or another."""
        self._inputs.append(self._info(name, shape, dtype))
        if default is not None:
            self._tensors[name] = self.onnx.numpy_helper.from_array(default, name)
        return name

    def output(self, value: str, name: str, shape: Sequence[int | str | None]) -> None:
        """Make a value an output of this name."""
        self.add("Identity", [value], outputs=[name])
        self._outputs.append(self._info(name, shape))

    def serialized(self, name: str) -> bytes:
        """Return the checked model as a file holds it."""
        helper = self.onnx.helper
        graph = helper.make_graph(
            self._nodes, name, self._inputs, self._outputs, list(self._tensors.values())
        )
        opsets = [helper.make_opsetid("", _OPSET)]
        if any(is_quantized(node) for node in self._nodes):
            opsets.append(helper.make_opsetid(DOMAIN, VERSION))
        model = helper.make_model(
            graph, producer_name="fusedlstm", opset_imports=opsets, ir_version=_IR_VERSION
        )
        with stand_ins([model.graph]):
            self.onnx.checker.check_model(model, full_check=True)
        content: bytes = model.SerializeToString(deterministic=True)
        return content

    def _info(self, name: str, shape: Sequence[int | str | None], dtype: Any = None) -> Any:
        kind = self.onnx.helper.np_dtype_to_tensor_dtype(self.dtype if dtype is None else np.dtype(dtype))
        return self.onnx.helper.make_tensor_value_info(name, kind, list(shape))
