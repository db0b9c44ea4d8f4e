"""The nodes of a graph as steps that compute, one after the other."""

from __future__ import annotations

from collections import ChainMap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.base import limits
from fusedlstm.exchange.onnx.arithmetic import ARITHMETIC
from fusedlstm.exchange.onnx.contrib import OPERATOR as QUANTIZED
from fusedlstm.exchange.onnx.file import INITIALIZERS, Array, array_of
from fusedlstm.exchange.onnx.halves import narrowed, widened
from fusedlstm.exchange.onnx.indexing import INDEXING
from fusedlstm.exchange.onnx.lstm import LSTMOperator, UnpackedLSTM
from fusedlstm.exchange.onnx.normalization import NORMALIZATION
from fusedlstm.exchange.onnx.pooling import POOLING
from fusedlstm.exchange.onnx.quantized import QuantizedLSTM
from fusedlstm.exchange.onnx.shapes import SHAPES
from fusedlstm.exchange.onnx.sizes import needed_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping, Sequence

# What operators raise for inputs that do not fit.
ERRORS = (IndexError, KeyError, MemoryError, OverflowError, TypeError, ValueError)
# A node's objects; there are many more of them than of layers.
_NODE = 2048
_COMPUTING = {**ARITHMETIC, **NORMALIZATION, **POOLING}
_OPERATORS = {**_COMPUTING, **INDEXING, **SHAPES}
OPERATORS = {*_OPERATORS, "If", "LSTM"}
# What nodes of LSTMs are, by operator.
RECURRENT: dict[str, type[LSTMOperator]] = {"LSTM": LSTMOperator, QUANTIZED: QuantizedLSTM}


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
    weights : tuple of str
        The inputs of an LSTM node with those that it has for good.
    """

    label: str
    operator: str
    attributes: dict[str, Any]
    run: Callable[[list[Array | None]], Sequence[Array | None]]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: tuple[str, ...] = ()

    def __call__(self, values: MutableMapping[str, Array | None]) -> None:
        """Compute its outputs from values by name, and add them; `ERRORS` if they do not fit."""
        results = self.run([values[name] if name else None for name in self.inputs])
        if len(results) < len(self.outputs):
            raise ValueError(f"expected at most {len(results)} outputs, got {len(self.outputs)}")
        values.update(zip(self.outputs, results, strict=False))


@dataclass(frozen=True)
class _Operator:
    """An operator with its attributes, as a function of its inputs that can be pickled."""

    name: str
    attributes: dict[str, Any]
    opset: int

    def __call__(self, given: list[Array | None]) -> Sequence[Array | None]:
        limits.claim(needed_bytes(self.name, given, self.attributes), "results")
        if self.name not in _COMPUTING:
            return _OPERATORS[self.name](given, self.attributes, self.opset)
        wide, half = widened(given)
        results = _COMPUTING[self.name](wide, self.attributes, self.opset)
        return narrowed(results) if half else results


class Body:
    """The nodes of a graph, or of one branch of an If node, without those that only constants go into.

    Parameters
    ----------
    graph : onnx.GraphProto
    opset : int
    constants : mapping of str to array
        What is known; the results of nodes over constants are added.
    used : set of str
        The names that any node of the file reads, and all outputs.

    Attributes
    ----------
    steps : list of Step
    outputs : tuple of str
    """

    def __init__(self, graph: Any, opset: int, constants: MutableMapping[str, Array], used: set[str]) -> None:
        self.steps: list[Step] = []
        self.outputs = tuple(info.name for info in graph.output)
        for number, node in enumerate(graph.node):
            label = f"node {number} {node.name!r} ({node.op_type})"
            try:
                self._add(node, label, opset, constants, used)
            except ERRORS as error:
                raise ValueError(f"{label}: {error}") from error

    @property
    def needed(self) -> set[str]:
        """The names of all that its steps read or that are its outputs."""
        return {name for step in self.steps for name in step.inputs if name} | set(self.outputs)

    @property
    def results(self) -> set[str]:
        """The names of all that its steps make."""
        return {name for step in self.steps for name in step.outputs if name}

    def run(self, values: MutableMapping[str, Array | None]) -> None:
        """Add the results of all steps to values by name; `ValueError` naming the node that does not fit."""
        for step in self.steps:
            try:
                step(values)
            except ERRORS as error:
                raise ValueError(f"{step.label}: {error}") from error

    def _add(
        self, node: Any, label: str, opset: int, constants: MutableMapping[str, Array], used: set[str]
    ) -> None:
        limits.claim_description(_NODE, "nodes")
        attributes = {attribute.name: _value(attribute) for attribute in node.attribute}
        inputs, outputs = tuple(node.input), tuple(node.output)
        run: Callable[[list[Array | None]], Sequence[Array | None]]
        weights: tuple[str, ...] = ()
        if node.op_type in RECURRENT:
            weights, wanted = inputs, bool(outputs[0]) and outputs[0] in used
            inputs, run = _lstm(RECURRENT[node.op_type], attributes, inputs, wanted, constants)
        elif node.op_type == "If":
            run = Branches(attributes, opset, constants, used)
            inputs, attributes = (*inputs, *run.captured), {}
        else:
            if node.op_type == "Split":  # Into how many parts, its outputs said alone before version 18.
                attributes.setdefault("num_outputs", len(outputs))
            run = _Operator(node.op_type, attributes, opset)
        step = Step(label, node.op_type, attributes, run, inputs, outputs, weights)
        if node.op_type not in RECURRENT and all(name in constants for name in inputs if name):
            results: dict[str, Array | None] = {name: constants[name] for name in inputs if name}
            step(results)
            for name in outputs:
                if name and (result := results[name]) is not None:
                    constants[name] = result
        else:
            self.steps.append(step)


class Branches:
    """An If node: a function of its condition and of what its two branches read of the graph around it.

    Attributes
    ----------
    captured : tuple of str
        The names of what they read.
    """

    def __init__(
        self,
        attributes: dict[str, Any],
        opset: int,
        constants: MutableMapping[str, Array],
        used: set[str],
    ) -> None:
        self._branches: dict[bool, tuple[Body, dict[str, Array]]] = {}
        captured: dict[str, None] = {}
        for name, which in (("then_branch", True), ("else_branch", False)):
            graph = attributes[name]
            own: dict[str, Array] = {
                tensor.name: array_of(tensor, INITIALIZERS) for tensor in graph.initializer
            }
            try:
                body = Body(graph, opset, ChainMap(own, constants), used)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
            needed = body.needed
            self._branches[which] = body, {key: own[key] for key in own if key in needed}
            captured |= dict.fromkeys(sorted(needed - body.results - set(own)))
        self.captured = tuple(captured)

    def chosen(self, condition: Array | None) -> tuple[Body, dict[str, Array]]:
        """Return the steps of the branch that a condition chooses, and their constants."""
        if condition is None or condition.dtype != np.bool_ or condition.size != 1:
            got = "nothing" if condition is None else f"{condition.dtype} of shape {condition.shape}"
            raise ValueError(f"cond: expected one bool, got {got}")
        return self._branches[bool(condition.reshape(()))]

    def __call__(self, given: list[Array | None]) -> list[Array | None]:
        """Compute the outputs of the branch that the first input chooses."""
        body, constants = self.chosen(given[0])
        values: dict[str, Array | None] = {
            **dict(zip(self.captured, given[1:], strict=True)),
            **constants,
        }
        body.run(values)
        # A constant is copied: what comes out may be an output of the model, which its caller may change.
        return [constants[name].copy() if name in constants else values[name] for name in body.outputs]


def used_names(graph: Any) -> set[str]:
    """Return the names that the nodes of a graph, and of the branches in it, read, and all outputs."""
    names = {info.name for info in graph.output}
    for node in graph.node:
        names.update(node.input)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                names |= used_names(attribute.g)
    return names


def _lstm(
    kind: type[LSTMOperator],
    attributes: dict[str, Any],
    inputs: tuple[str, ...],
    want_y: bool,
    constants: MutableMapping[str, Array],
) -> tuple[tuple[str, ...], LSTMOperator | UnpackedLSTM]:
    """Return the names of an LSTM node's inputs and the node, its weights packed if they are known."""
    places = kind.places
    sources = {place: inputs[place] for place in places if place < len(inputs) and inputs[place]}
    for place, source in sources.items():
        if source not in constants and kind is LSTMOperator:
            return inputs, UnpackedLSTM(attributes, [want_y])
        if source not in constants:
            raise ValueError(
                f"{places[place]}: expected a constant, got {source!r:.80}, which is computed or given"
            )
    weights = {places[place]: constants[source] for place, source in sources.items()}
    # Nothing else of the inputs is read but by position.
    left = tuple("" if place in places else source for place, source in enumerate(inputs))
    return left, kind(attributes, weights, [want_y])


def _value(attribute: Any) -> Any:
    from onnx import helper

    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list) and value and isinstance(value[0], bytes):
        return [item.decode() for item in value]
    return value
