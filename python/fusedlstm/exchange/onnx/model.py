"""ONNX graphs on the kernels of this package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.base import limits
from fusedlstm.base.filling import filling
from fusedlstm.exchange.onnx.file import DTYPES, INITIALIZERS, Array, array_of, import_onnx, read_file
from fusedlstm.exchange.onnx.steps import ERRORS, OPERATORS, RECURRENT, Body, used_names

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    from fusedlstm.models.model import Model
    from fusedlstm.models.sequential import Sequential


def from_onnx(path: str | os.PathLike[str], *, max_bytes: int | None = None) -> OnnxModel:
    """Make a model of an ONNX file, for inference.

    LSTM nodes run on this package's kernels, with every attribute that the operator has, and so do matrix
    products; all else is NumPy. Nodes of float16 compute in float32 and round their results. An If node runs
    the branch that its condition chooses. Beside the standard operators, ONNX Runtime's DynamicQuantizeLSTM
    of the domain com.microsoft is known, with constant weights, which compute as
    ``ops.LSTMWeights(..., compute="int8")`` does. Nothing in a file is ever executed.

    Parameters
    ----------
    path : path-like
        The file. Tensors may lie in other files of its folder.
    max_bytes : int, optional
        Memory that its content may take, results of operators on constants included; see
        `fusedlstm.base.limits`. What a graph computes when it is called is not limited.

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
            model, opset, size = read_file(content, path, OPERATORS)
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
        self._constants = {tensor.name: array_of(tensor, INITIALIZERS) for tensor in graph.initializer}
        fixed = {
            node.input[number]
            for node in graph.node
            if node.op_type in RECURRENT
            for number in RECURRENT[node.op_type].places
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
        self._body = Body(graph, opset, self._constants, used_names(graph))
        known = {*self._constants, *(one.name for one in self.inputs), *self._body.results}
        for output in self.outputs:
            if output not in known:
                raise ValueError(f"output {output!r}: expected the result of a node, got none of this name")
        needed = self._body.needed
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
        try:
            self._body.run(values)
        except ValueError as error:
            raise ValueError(f"{self._name}: {error}") from error
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
            LayerNormalization, RepeatVector, pooling, Reshape and Flatten layers from (B, T, I), (B, I) or
            (B, T), or from ids (B, T) on an Embedding. Weights of float16 are float32 there, and so are those
            of quantized LSTMs, whose layers have the policy ``"int8_from_float32"``. Columns of a
            matrix product that nothing reads are left out, and so are steps that nothing reads after the last
            LSTM. A graph whose axes may have any length, but which takes one only, as after a pooling of so
            many steps, makes a model for that length. Not all graphs of `to_onnx` are taken back: not masks,
            Permute, most of Reshape, pooling that keeps its axis, or inputs of four axes.

        Raises
        ------
        ValueError
            If the graph is anything else; the message names the node.
        """
        from fusedlstm.exchange.onnx.sequential import sequential

        model: Sequential = self._as_layers(sequential, "not a stack of layers")
        return model

    def model(self) -> Model:
        """Make a model of layers, which can be trained, of a graph of them.

        Its inputs are the graph's, by name where layers may have such names, and its outputs the graph's in
        their order, all with batch rows first. Beside what `sequential` takes, nodes may have several
        values: Add, Sub, Mul, Max, Min, Sum, Mean, a sum times one over its number, Concat of features or of
        steps, and MatMul, which are Add, Subtract, Multiply, Maximum, Minimum, Average, Concatenate and Dot.
        An LSTM may start from other values, and all its outputs may be used. Nodes with the same constants
        are one layer that is called several times; weights of which other nodes share a part only are each
        layer's.

        Returns
        -------
        Model
            Built, with copies of the weights, not compiled.

        Raises
        ------
        ValueError
            If the graph is anything else, as one with masks is; the message names the node.
        """
        from fusedlstm.exchange.onnx.functional import functional

        model: Model = self._as_layers(functional, "not a graph of layers")
        return model

    def _as_layers(self, make: Callable[..., Any], refusal: str) -> Any:
        try:
            # An input with a default is a constant here, as no call gives it.
            constants = {**self._constants, **self._defaults}
            inputs = [one for one in self.inputs if one.required]
            with limits.reading(*self._limit), filling():
                return make(self._body.steps, constants, inputs, self.outputs, self._opset)
        except ERRORS as error:
            raise ValueError(f"{self._name}: {refusal}: {error}") from error

    def __repr__(self) -> str:
        names = [one.name for one in self.inputs]
        return f"<OnnxModel {self._name!r}, inputs={names}, outputs={list(self.outputs)}>"


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
