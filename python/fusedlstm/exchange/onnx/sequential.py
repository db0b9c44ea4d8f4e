"""Graphs that are stacks of layers, as `Sequential` models."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fusedlstm.base import limits
from fusedlstm.exchange.onnx import made as making
from fusedlstm.exchange.onnx.follower import Follower, followed
from fusedlstm.exchange.onnx.values import Value, joined, summed
from fusedlstm.layers import InputLayer
from fusedlstm.models.sequential import Sequential

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fusedlstm.exchange.onnx.file import Array
    from fusedlstm.exchange.onnx.lstm import LSTMOperator
    from fusedlstm.exchange.onnx.made import Made
    from fusedlstm.exchange.onnx.model import OnnxInput
    from fusedlstm.exchange.onnx.steps import Step


def sequential(
    steps: Sequence[Step],
    constants: Mapping[str, Array],
    inputs: Sequence[OnnxInput],
    outputs: Sequence[str],
    opset: int,
) -> Sequential:
    """Make a model of a graph's layers; `ValueError` naming the node where it is no stack of layers."""
    if len(inputs) != 1:
        names = ", ".join(repr(one.name) for one in inputs)
        raise ValueError(
            f"expected one input, got {names}: a Sequential takes no states, lengths or weights besides"
        )
    reader, (end,) = followed(_Stack, steps, constants, inputs, outputs, opset)
    way = []
    made = reader.made[end.layer - 1]
    while made.sources:
        way.append(made)
        made = reader.made[made.sources[0] - 1]
    way.reverse()
    sizes = reader.input_shapes()[0]
    model = Sequential([InputLayer(sizes), *(made.layer for made in way if made.layer is not None)])
    if not model.built:
        model.build((None, *sizes))
    model.set_weights([array for made in way for array in made.weights])
    return model


class _Stack(Follower):
    """What follows the nodes of a graph with one input, where each node takes one value."""

    def ends(self, outputs: Sequence[str]) -> list[Value]:
        """Make the layer that the first output comes from."""
        for name in outputs[1:]:
            if name not in self.values or self.values[name].what == "y":
                raise ValueError(f"output {name!r}: expected the last states of LSTMs after the first output")
        (value,) = super().ends(outputs[:1])
        if not self.made[value.layer - 1].sources:
            raise ValueError(f"output {outputs[0]!r}: expected layers, got the input")
        return [value]

    def merged(self, step: Step, given: Sequence[Value]) -> Value:
        """Follow a node over several directions of one LSTM."""
        if step.operator == "Concat":
            return joined(given, step.attributes["axis"])
        if step.operator in ("Add", "Mul") and len(given) == 2:
            if given[0].layer != given[1].layer:
                raise ValueError("expected one layer after the other, got a connection that skips one")
            return summed(given, "sum" if step.operator == "Add" else "mul")
        raise ValueError("expected one layer after the other, got a node over several values")

    def states(self, node: LSTMOperator, names: Sequence[str]) -> tuple[int, ...]:
        """Refuse initial states."""
        del node
        for name, got in zip(("initial_h", "initial_c"), names, strict=True):
            if got and not self.known.is_zero(got):
                raise ValueError(f"{name}: expected zeros, as layers have it, got {got!r}")
        raise AssertionError

    def viewed(self, value: Value) -> Made:
        """Make the layer of an LSTM node."""
        before = self.made[value.layer - 1]
        assert before.node is not None
        made = making.recurrent(before.node, value)
        # A file may look at a node again and again.
        limits.claim(sum(array.nbytes for array in made.weights), "weights")
        return replace(made, sources=before.sources, sequences=value.what == "y", view=value)
