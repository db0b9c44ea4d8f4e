"""ONNX graphs on the kernels of this package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import limits
from fusedlstm.exchange.onnx.arithmetic import ARITHMETIC
from fusedlstm.exchange.onnx.file import DTYPES, Array, array_of, import_onnx, read_file
from fusedlstm.exchange.onnx.lstm import WEIGHTS, LSTMOperator, UnpackedLSTM
from fusedlstm.exchange.onnx.shapes import SHAPES
from fusedlstm.exchange.onnx.sizes import needed_bytes
from fusedlstm.filling import filling

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from fusedlstm.model import Sequential

__all__ = ["OnnxInput", "OnnxModel", "from_onnx"]

# A node's objects; there are many more of them than of layers.
_NODE = 2048
_OPERATORS = {**ARITHMETIC, **SHAPES}
# What operators raise for inputs that do not fit.
_ERRORS = (IndexError, KeyError, MemoryError, OverflowError, TypeError, ValueError)


def from_onnx(path: str | os.PathLike[str], *, max_bytes: int | None = None) -> OnnxModel:
    """Make a model of an ONNX file, for inference.

    LSTM nodes run on this package's kernels, with every attribute that the operator has, and so do matrix
    products; all else is NumPy. Nothing in a file is ever executed.

    Parameters
    ----------
    path : path-like
        The file. Tensors may lie in other files of its folder.
    max_bytes : int, optional
        Memory that its content may take, results of operators on constants included; see
        `fusedlstm.limits`. What a graph computes when it is called is not limited.

    Returns
    -------
    OnnxModel
        A graph is not always a stack of layers, so this is what every graph becomes: a function of its
        inputs.

    Raises
    ------
    ImportError
        When onnx is not installed.
    OSError
        When a file cannot be read.
    ValueError
        When the file is damaged or has an operator, an attribute or a type that is not known here; the
        message names file and node.
    """
    name = str(path)
    import_onnx("from_onnx")
    with limits.content(path, max_bytes) as content:
        try:
            model, opset, size = read_file(content, path, {*_OPERATORS, "LSTM"})
            return OnnxModel(model, opset, name, (size, max_bytes))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error


@dataclass(frozen=True)
class OnnxInput:
    """What an input is.

    Attributes
    ----------
    name : str
    dtype : dtype
    shape : tuple or None
        Sizes, a name or None where any size will do; None if the number of axes is not known.
    required : bool
        Whether there is no default.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str | None, ...] | None
    required: bool


@dataclass(frozen=True)
class Step:
    """A node of a graph.

    Attributes
    ----------
    label : str
        What messages call it.
    operator : str
    attributes : dict
    run : callable
        Computes its outputs from its inputs.
    inputs, outputs : tuple of str
        The names of values; empty for those that are left out.
    """

    label: str
    operator: str
    attributes: dict[str, Any]
    run: Callable[[list[Array | None]], Sequence[Array | None]]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class _Operator:
    """An operator with its attributes, as a function of its inputs that can be pickled."""

    name: str
    attributes: dict[str, Any]
    opset: int

    def __call__(self, given: list[Array | None]) -> Sequence[Array | None]:
        limits.claim(needed_bytes(self.name, given, self.attributes), "results")
        return _OPERATORS[self.name](given, self.attributes, self.opset)


class OnnxModel:
    """A graph of an ONNX file; see `from_onnx`, which makes it.

    Attributes
    ----------
    inputs : tuple of OnnxInput
        The graph's inputs, in their order.
    outputs : tuple of str
        The names of its outputs.
    """

    def __init__(self, model: Any, opset: int, name: str, limit: tuple[int, int | None] = (0, None)) -> None:
        graph = model.graph
        self._name = name
        self._limit = limit  # what `limits.reading` takes
        self._opset = opset
        self._constants = {tensor.name: array_of(tensor) for tensor in graph.initializer}
        fixed = {
            node.input[number]
            for node in graph.node
            if node.op_type == "LSTM"
            for number in WEIGHTS
            if number < len(node.input)
        }
        # Files of old versions list all initializers among the inputs; since version 4 that says that they
        # may be overridden, which an LSTM's packed weights may not.
        if model.ir_version < 4:
            fixed |= set(self._constants)
        self.inputs = tuple(
            _input(info, info.name not in self._constants)
            for info in graph.input
            if info.name not in self._constants or info.name not in fixed
        )
        self.outputs = tuple(info.name for info in graph.output)
        self._defaults = {one.name: self._constants.pop(one.name) for one in self.inputs if not one.required}
        self._steps: list[Step] = []
        known = {*self._constants, *(one.name for one in self.inputs)}
        used = {source for node in graph.node for source in node.input} | set(self.outputs)
        for number, node in enumerate(graph.node):
            label = f"node {number} {node.name!r} ({node.op_type})"
            try:
                self._add(node, label, opset, used)
            except _ERRORS as error:
                raise ValueError(f"{label}: {error}") from error
            known.update(node.output)
        for output in self.outputs:
            if output not in known:
                raise ValueError(f"output {output!r}: expected the result of a node, got none of this name")
        needed = {name for step in self._steps for name in step.inputs} | set(self.outputs)
        self._constants = {key: value for key, value in self._constants.items() if key in needed}

    def __call__(self, *arrays: npt.ArrayLike, **named: npt.ArrayLike) -> Any:
        """Compute the outputs: one array, or a list of them in the graph's order.

        Parameters
        ----------
        *arrays, **named : array_like
            Inputs in the graph's order, or by name; each of the type in `inputs`.

        Raises
        ------
        TypeError, ValueError
            As `run`.
        """
        if len(arrays) > len(self.inputs):
            raise TypeError(f"expected at most {len(self.inputs)} inputs, got {len(arrays)}")
        given = {one.name: array for one, array in zip(self.inputs, arrays, strict=False)}
        for name in named:
            if name in given:
                raise TypeError(f"{name}: expected one array, got it twice")
        results = self.run({**given, **named})
        return results[self.outputs[0]] if len(self.outputs) == 1 else list(results.values())

    def run(self, inputs: Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
        """Compute the outputs by name.

        Parameters
        ----------
        inputs : mapping of str to array_like
            By name; those with defaults may be left out.

        Returns
        -------
        dict of str to array
            New arrays, in the graph's order.

        Raises
        ------
        TypeError
            If an input is not of the graph's type.
        ValueError
            If an input is missing, unknown or of a wrong shape, or inputs do not fit each other; the message
            names it, or the node.
        """
        values: dict[str, Array | None] = {**self._constants, **self._defaults}
        names = [one.name for one in self.inputs]
        for name in inputs:
            if name not in names:
                raise ValueError(f"{name}: expected inputs among {names}, got this name")
        for one in self.inputs:
            if one.name in inputs:
                values[one.name] = _checked(inputs[one.name], one)
            elif one.required:
                raise ValueError(f"{one.name}: expected an array, got none of this name")
        before = {id(value) for value in values.values()}
        for step in self._steps:
            self._run(step, values)
        results = {}
        for name in self.outputs:
            value = values[name]
            assert value is not None
            # Not a view of an input, a constant or another output, which the caller would change with it.
            fresh = value.flags.owndata and value.flags.c_contiguous and id(value) not in before
            results[name] = value if fresh else np.array(value, order="C")
            before.add(id(value))
        return results

    def sequential(self) -> Sequential:
        """Make a model of layers, which can be trained, of a graph that is a stack of them.

        It takes batch rows first, where the graph has steps first too: an input (T, B, I) of the graph is
        (B, T, I) of the model, and one of a single sequence (T, I) gets an axis for batch rows, and so do
        outputs. Outputs after the first must be the last states of LSTMs, and are left out. Inputs with
        defaults, as some exporters make of all weights, have these for good.

        Returns
        -------
        Sequential
            Built, with copies of the weights, not compiled: LSTM, Bidirectional, Dense, Dropout, Activation,
            LayerNormalization, pooling, Reshape and Flatten layers from (B, T, I), (B, I) or (B, T), or
            from ids (B, T) on an Embedding.

        Raises
        ------
        ValueError
            If the graph is anything else; the message names the node.
        """
        from fusedlstm.exchange.onnx.sequential import sequential

        try:
            # An input with a default is a constant here, as no call gives it.
            constants = {**self._constants, **self._defaults}
            inputs = [one for one in self.inputs if one.required]
            with limits.reading(*self._limit), filling():
                return sequential(self._steps, constants, inputs, self.outputs, self._opset)
        except _ERRORS as error:
            raise ValueError(f"{self._name}: not a stack of layers: {error}") from error

    def __repr__(self) -> str:
        names = [one.name for one in self.inputs]
        return f"<OnnxModel {self._name!r}, inputs={names}, outputs={list(self.outputs)}>"

    def _run(self, step: Step, values: dict[str, Array | None]) -> None:
        try:
            results = step.run([values[name] if name else None for name in step.inputs])
        except _ERRORS as error:
            raise ValueError(f"{self._name}: {step.label}: {error}") from error
        for name, result in zip(step.outputs, results, strict=False):
            values[name] = result

    def _add(self, node: Any, label: str, opset: int, used: set[str]) -> None:
        limits.claim_description(_NODE, "nodes")
        attributes = {attribute.name: _value(attribute) for attribute in node.attribute}
        inputs, outputs = tuple(node.input), tuple(node.output)
        if node.op_type == "LSTM":
            sources = {place: inputs[place] for place in WEIGHTS if place < len(inputs) and inputs[place]}
            wanted = [bool(outputs[0]) and outputs[0] in used]
            operator: LSTMOperator | UnpackedLSTM
            if all(source in self._constants for source in sources.values()):
                weights = {WEIGHTS[place]: self._constants[source] for place, source in sources.items()}
                operator = LSTMOperator(attributes, weights, wanted)
                # The weights are packed now; nothing else is read but by position.
                inputs = tuple("" if place in WEIGHTS else source for place, source in enumerate(inputs))
            else:
                operator = UnpackedLSTM(attributes, wanted)
            self._steps.append(Step(label, "LSTM", attributes, operator, inputs, outputs))
            return
        run = _Operator(node.op_type, attributes, opset)
        step = Step(label, node.op_type, attributes, run, inputs, outputs)
        if all(name in self._constants for name in inputs if name):
            results = step.run([self._constants[name] if name else None for name in inputs])
            for name, result in zip(outputs, results, strict=False):
                if result is not None:
                    self._constants[name] = result
        else:
            self._steps.append(step)


def _input(info: Any, required: bool) -> OnnxInput:
    kind = info.type.tensor_type
    if not info.type.HasField("tensor_type") or kind.elem_type not in DTYPES:
        raise ValueError(
            f"input {info.name!r}: expected a tensor of one of {', '.join(map(str, DTYPES.values()))}"
        )
    shape = None
    if kind.HasField("shape"):
        shape = tuple(
            size.dim_value if size.HasField("dim_value") else size.dim_param or None
            for size in kind.shape.dim
        )
    return OnnxInput(info.name, DTYPES[kind.elem_type], shape, required)


def _checked(value: npt.ArrayLike, one: OnnxInput) -> Array:
    array = np.asarray(value)
    if array.dtype != one.dtype:
        raise TypeError(f"{one.name}: expected an array of {one.dtype}, got {array.dtype}")
    if one.shape is not None and (
        array.ndim != len(one.shape)
        or any(
            isinstance(want, int) and want != got for want, got in zip(one.shape, array.shape, strict=True)
        )
    ):
        raise ValueError(f"{one.name}: expected shape {one.shape}, got {array.shape}")
    return array


def _value(attribute: Any) -> Any:
    from onnx import helper

    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list) and value and isinstance(value[0], bytes):
        return [item.decode() for item in value]
    return value
