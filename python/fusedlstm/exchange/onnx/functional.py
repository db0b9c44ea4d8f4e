"""Graphs with several inputs and outputs, merges and states, as models of layers."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

from fusedlstm.base import limits
from fusedlstm.exchange.onnx.follower import Follower, followed
from fusedlstm.exchange.onnx.made import Made
from fusedlstm.exchange.onnx.node_outputs import NodeOutputs
from fusedlstm.exchange.onnx.values import Value, joined, summed
from fusedlstm.layers import (
    Add,
    Average,
    Concatenate,
    Dot,
    Input,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
)
from fusedlstm.models.model import Model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fusedlstm.base.symbolic import KerasTensor
    from fusedlstm.exchange.onnx.file import Array
    from fusedlstm.exchange.onnx.lstm import LSTMOperator
    from fusedlstm.exchange.onnx.model import OnnxInput
    from fusedlstm.exchange.onnx.steps import Step
    from fusedlstm.layers import Layer

_ELEMENTWISE: dict[str, type[Layer]] = {
    "Add": Add,
    "Max": Maximum,
    "Mean": Average,
    "Min": Minimum,
    "Mul": Multiply,
    "Sub": Subtract,
    "Sum": Add,
}
_DIRECTIONS: dict[str, Any] = {"concat": Concatenate, "sum": Add, "mul": Multiply, "ave": Average}


def functional(
    steps: Sequence[Step],
    constants: Mapping[str, Array],
    inputs: Sequence[OnnxInput],
    outputs: Sequence[str],
    opset: int,
) -> Model:
    """Make a model of a graph of layers; `ValueError` naming the node where it is none."""
    if not inputs:
        raise ValueError("expected inputs, got none")
    reader, ends = followed(_Graph, steps, constants, inputs, outputs, opset)
    return reader.model([value.layer for value in ends])


class _Graph(Follower):
    """What follows the nodes of any graph."""

    def viewed(self, value: Value) -> Made:
        """Make an output of an LSTM node."""
        limits.claim_description(limits.OBJECT // 8, "a call of a layer")
        return Made(sources=(value.layer,), sequences=value.what == "y", view=value)

    def states(self, node: LSTMOperator, names: Sequence[str]) -> tuple[int, ...]:
        """Return after how many calls the initial states h and c are there of each direction."""
        directions, found = len(node.backwards), []
        for name, got in zip(("initial_h", "initial_c"), names, strict=True):
            if got not in self.values:
                raise ValueError(f"{name}: expected what comes of the inputs, got {got or 'zeros'!r}")
            value = self.values[got]
            order = ("B", "D") if node.batch_first else ("D", "B")
            if not value.is_of(*order, "F") or len(value.parts) != directions or value.features != node.units:
                raise ValueError(f"{name}: expected (D, B, H) for {directions} directions, got {value}")
            axes = value.without("D").axes
            for part in value.parts:
                each = self.finished(replace(value, axes=axes, parts=(part,)))
                found.append(each.layer)
        return tuple(found[number + place] for number in range(directions) for place in (0, directions))

    def merged(self, step: Step, given: Sequence[Value]) -> Value:
        """Follow a node over several values."""
        operator = step.operator
        if operator == "Concat":
            return self._joined(given, step.attributes["axis"])
        if operator in ("Add", "Mul") and self._of_one_node(given):
            return summed(given, "sum" if operator == "Add" else "mul")
        if operator == "MatMul":
            return self._dot(*given)
        if operator not in _ELEMENTWISE:
            known = sorted([*_ELEMENTWISE, "Concat", "MatMul"])
            raise ValueError(f"expected one of {known} for several values, got {operator}")
        values = [self._plain(value) for value in given]
        return self._merge(_ELEMENTWISE[operator](dtype=self.dtype), values, _met(values))

    def _of_one_node(self, given: Sequence[Value]) -> bool:
        """Return whether values are the different directions of one LSTM node."""
        parts = [part for value in given for part in value.parts]
        one = len({layer for layer, _ in parts}) == 1 and len(set(parts)) == len(parts)
        return one and len(parts) == len(given) > 1 and self.made[parts[0][0] - 1].node is not None

    def _plain(self, value: Value) -> Value:
        """Return a value as a layer's, whose axes are all apart."""
        value = self.finished(value)
        if value.axes[-1:] == ("TF",):
            value = self.flat(value)
        # A number for each step has no axis of features, as a feature that is left out of several has none.
        numbers = "F" not in value.axes and any("F" not in axes for axes in self.axes)
        if self.is_ids(value) or numbers or any(len(axis) > 1 for axis in value.axes):
            raise ValueError(f"expected axes of features, steps and rows to be merged, got {value}")
        return value

    def _merge(self, layer: Layer, values: Sequence[Value], like: Value) -> Value:
        """Add a merge of values."""
        sequences = any(self.made[value.layer - 1].sequences for value in values)
        made = Made(layer=layer, sources=tuple(value.layer for value in values), sequences=sequences)
        return self.placed(like, made)

    def _joined(self, given: Sequence[Value], axis: int) -> Value:
        """Follow Concat."""
        one = given[0]
        place = axis % len(one.axes) if -len(one.axes) <= axis < len(one.axes) else -1
        letters = one.axes[place] if place >= 0 else ""
        if letters not in ("F", "DF", "T") or (letters == "F" and self._of_one_node(given)):
            if place >= 0 and len({value.what for value in given}) > 1:
                given = [self.finished(value) for value in given]
            return joined(given, axis)
        values = [self._plain(value) for value in given]
        for value in values[1:]:
            if value.axes != values[0].axes:
                raise ValueError(f"expected parts of one kind to be joined, got {values[0]} and {value}")
        layer = Concatenate(axis=1 if letters == "T" else -1, dtype=self.dtype)
        if letters == "T":
            return self._merge(layer, values, replace(values[0], steps=sum(value.steps for value in values)))
        return self._merge(layer, values, replace(values[0], features=sum(v.features for v in values)))

    def _dot(self, left: Value, right: Value) -> Value:
        """Follow a product (B, rows, n) (B, n, columns) of two values."""
        pair = [self._plain(left), self._plain(right)]
        axes, rest = [], []
        for number, value in enumerate(pair):
            if len(value.axes) != 3 or value.axes[0] != "B" or value.axes[2 - number] not in ("T", "F"):
                raise ValueError(f"expected products of rows of matrices (B, T, F), got {value}")
            steps = self.made[value.layer - 1].sequences
            axes.append(2 if steps and value.axes[2 - number] == "F" else 1)
            other = value.axes[1 + number]
            rest.append(value.size(other) if steps else 1)
            if steps and not other:
                raise ValueError(f"expected products of rows of matrices (B, T, F), got {value}")
        matrix = [self.made[value.layer - 1].sequences for value in pair]
        layer = Dot(axes=(axes[0], axes[1]), dtype=self.dtype)
        if all(matrix):
            shape: tuple[tuple[str, ...], int, int] = (("B", "T", "F"), rest[0], rest[1])
        else:
            shape = (("B", "F", "") if matrix[0] else ("B", "", "F"), 1, rest[0] * rest[1])
        value = self._merge(layer, pair, replace(pair[0], axes=shape[0], steps=shape[1], features=shape[2]))
        self.made[-1] = replace(self.made[-1], sequences=all(matrix))
        return value

    # The model.

    def model(self, ends: Sequence[int]) -> Model:
        """Make the model whose outputs are there after so many calls each."""
        needed = {*ends}
        for number in range(len(self.made), 0, -1):
            if number in needed:
                needed |= {*self.made[number - 1].sources, *self.made[number - 1].states}
        layers = _Layers(self.made, needed)
        names = layers.names
        tensors: dict[int, Any] = {}
        for number, (one, shape) in enumerate(zip(self.inputs, self.input_shapes(), strict=True), 1):
            name = base = one.name.replace("/", "_")
            again = count(1)
            while name in names:
                name = f"{base}_{next(again)}"
            names.add(name)
            dtype = str(one.dtype) if one.dtype.kind == "i" else self.dtype
            tensors[number] = Input(shape, name=name, dtype=dtype)
        starts = list(tensors.values())
        for number in sorted(needed - {*tensors}):
            made = self.made[number - 1]
            given = [tensors[source] for source in made.sources]
            if made.node is not None:
                states = [tensors[state] for state in layers.starts(made)] or None
                found = layers.of_node(number)(given[0], initial_state=states)
                tensors[number] = found if isinstance(found, list) else [found]
            elif made.view is not None:
                tensors[number] = layers.output(made.view, given[0], self.dtype)
            else:
                layer = layers.of_call(made)
                tensors[number] = layer(given if len(given) > 1 else given[0])
        outputs = [tensors[end] for end in ends]
        model = Model(starts if len(starts) > 1 else starts[0], outputs if len(outputs) > 1 else outputs[0])
        layers.set_weights()
        return model


class _Layers:
    """The layers of a model, one for all calls with the same constants."""

    def __init__(self, made: Sequence[Made], needed: set[int]) -> None:
        self._made = made
        self._layers: dict[object, tuple[Layer, tuple[Array, ...]]] = {}
        views: dict[object, list[Value]] = {}
        for number in sorted(needed):
            view = made[number - 1].view
            if view is not None:
                views.setdefault(made[view.layer - 1].names, []).append(view)
        nodes = {one.names: one.node for one in made if one.node is not None}
        self._outputs = {names: NodeOutputs(nodes[names], some) for names, some in views.items()}  # type: ignore[index]
        for number in sorted(needed):
            if made[number - 1].node is not None:
                self.of_node(number)
            elif made[number - 1].layer is not None:
                self.of_call(made[number - 1])

    @property
    def names(self) -> set[str]:
        """The names of all layers."""
        return {layer.name for layer, _ in self._layers.values()}

    def of_node(self, number: int) -> Any:
        """Return the layer of an LSTM node."""
        names = self._made[number - 1].names
        if names not in self._layers:
            self._layers[names] = self._outputs[names].layer()
        return self._layers[names][0]

    def starts(self, made: Made) -> list[int]:
        """Return after how many calls the initial states of a call of an LSTM node are there."""
        return self._outputs[made.names].starts(made.states) if made.states else []

    def of_call(self, made: Made) -> Any:
        """Return the layer of a call."""
        assert made.layer is not None
        config = {key: value for key, value in made.layer.get_config().items() if key != "name"}
        key = (type(made.layer), made.names, repr(config)) if made.names else made.layer
        return self._layers.setdefault(key, (made.layer, made.weights))[0]

    def output(self, view: Value, outputs: Sequence[KerasTensor], dtype: str) -> Any:
        """Return an output of an LSTM node's layer, or a merge of some."""
        places = self._outputs[self._made[view.layer - 1].names].places(view)
        if len(places) == 1:
            return outputs[places[0]]
        return _DIRECTIONS[view.merge or "concat"](dtype=dtype)([outputs[place] for place in places])

    def set_weights(self) -> None:
        """Give all layers their weights."""
        for layer, weights in self._layers.values():
            layer.set_weights(weights)


def _met(values: Sequence[Value]) -> Value:
    """Return what values are together if numbers at the same places, or repeated ones, meet."""
    one = values[0]
    letters = [{*place} - {""} for place in zip(*(value.axes for value in values), strict=False)]
    alike = len({len(value.axes) for value in values}) == len({value.rows for value in values}) == 1
    if not alike or any(len(place) > 1 for place in letters):
        raise ValueError(f"expected values that meet, got {', '.join(map(str, values))}")
    sizes = {letter: max(value.size(letter) for value in values) for letter in "TF"}
    return replace(
        one, axes=tuple("".join(place) for place in letters), steps=sizes["T"], features=sizes["F"]
    )
