"""Layers that merge several values as ONNX nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fusedlstm.exchange.onnx.layer_writer import LayerWriter
from fusedlstm.exchange.onnx.recurrent import BOOL, INT32, Value
from fusedlstm.layers.merging import (
    Add,
    Average,
    Concatenate,
    Dot,
    Maximum,
    Merge,
    Minimum,
    Multiply,
    Subtract,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusedlstm.base.types import Shape

# Operators of any number of values, and those of two.
_OF_MANY: dict[type, str] = {Add: "Sum", Average: "Mean", Maximum: "Max", Minimum: "Min"}
_OF_TWO = {Add: "Add", Subtract: "Sub", Multiply: "Mul"}
MERGES = (Add, Average, Concatenate, Dot, Maximum, Minimum, Multiply, Subtract)


class MergeWriter(LayerWriter):
    """Writes merges too."""

    def merge(self, layer: Merge, values: Sequence[Value], shapes: Sequence[Shape]) -> Value:
        """Write a merge of values of these shapes."""
        if isinstance(layer, Dot):
            return Value(self._dot(layer, [self.batch_first(value) for value in values], shapes))
        ranks = [len(shape) for shape in shapes]
        steps_first = all(value.steps_first for value in values)
        names = [value.name if steps_first else self.batch_first(value) for value in values]
        real = self._mask(layer, values, ranks)
        if isinstance(layer, Concatenate):
            axis = layer.axis % ranks[0]
            if axis != ranks[0] - 1 and any(value.real for value in values):
                raise ValueError(f"axis: ONNX has only masks at the end of sequences, got axis={layer.axis}")
            axis = {0: 1, 1: 0}.get(axis, axis) if steps_first else axis
            return replace(real, name=self.graph.add("Concat", names, axis=axis), steps_first=steps_first)
        # Missing axes come after that of the batch.
        most = max(ranks)
        names = [
            name
            if rank == most
            else self.graph.add("Unsqueeze", [name, self.graph.integers(*range(1, most - rank + 1))])
            for name, rank in zip(names, ranks, strict=True)
        ]
        if layer.leaves_out and any(value.real is not None for value in values):
            kept = [
                self._kept(value, rank, most, steps_first) for value, rank in zip(values, ranks, strict=True)
            ]
            y = (
                self._product(names, kept)
                if isinstance(layer, Multiply)
                else self._extreme(layer, names, kept)
            )
            return replace(real, name=y, steps_first=steps_first)
        return replace(real, name=self._elementwise(layer, names), steps_first=steps_first)

    def _kept(self, value: Value, rank: int, most: int, steps_first: bool) -> str | None:
        """Return which steps of a value are real, by the axes that a merge has; None for all."""
        if value.real is None:
            return None
        if rank != 3 or most != 3:
            raise ValueError(f"mask: expected inputs (B, T, F), got {most} axes")
        return value.real if steps_first else self.graph.add("Transpose", [value.real], perm=[1, 0, 2])

    def _product(self, names: list[str], kept: list[str | None]) -> str:
        """Write a product in which masked steps count as ones, and are zeros where they are so in all."""
        graph = self.graph
        one = graph.tensor("one", 1.0)
        factors = [
            name if real is None else graph.add("Where", [real, name, one])
            for name, real in zip(names, kept, strict=True)
        ]
        y = factors[0]
        for factor in factors[1:]:
            y = graph.add("Mul", [y, factor])
        left, *others = kept
        for real in others:
            left = None if left is None or real is None else graph.add("Or", [left, real])
        return y if left is None else str(graph.add("Where", [left, y, graph.tensor("zero", 0.0)]))

    def _extreme(self, layer: Merge, names: list[str], kept: list[str | None]) -> str:
        """Write maxima or minima in which masked steps take no part."""
        graph, kind = self.graph, _OF_MANY[type(layer)]
        y, before = names[0], kept[0]
        for name, real in zip(names[1:], kept[1:], strict=True):
            last, y = y, graph.add(kind, [y, name])
            if before is not None:
                y = graph.add("Where", [before, y, name])
            if real is not None:
                y = graph.add("Where", [real, y, last])
            before = None if before is None or real is None else graph.add("Or", [before, real])
        return y

    def _elementwise(self, layer: Merge, names: list[str]) -> str:
        """Write one node, or a chain of them."""
        kind: Any = type(layer)
        if kind in _OF_MANY and (len(names) > 2 or kind not in _OF_TWO):
            return str(self.graph.add(_OF_MANY[kind], names))
        y, *others = names
        for one in others:
            y = self.graph.add(_OF_TWO[kind], [y, one])
        return y

    def _mask(self, layer: Merge, values: Sequence[Value], ranks: Sequence[int]) -> Value:
        """Return a value with the steps that are real in any of others; all are, if those of one are."""
        if any(value.real is None for value in values):
            return Value("")
        if min(ranks) < max(ranks):
            raise ValueError(f"mask: expected inputs with as many axes for {layer.name}, got {list(ranks)}")
        one = values[0]
        for other in values[1:]:
            if other.real != one.real:
                parts: list[Any] = [(one.real, other.real), (one.lengths, other.lengths)]
                real, lengths = map(self.graph.add, ("Or", "Max"), parts)
                one = replace(one, real=real, lengths=lengths)
        return one

    def given_mask(self, value: Value, mask: Value) -> Value:
        """Return a value whose real steps are those of another value (B, T)."""
        self._check_mask("mask: ")
        graph = self.graph
        kept = graph.add("Cast", [graph.add("Transpose", [mask.name], perm=[1, 0])], to=BOOL)
        counts = graph.add("Unsqueeze", [graph.add("Cast", [kept], to=INT32), graph.integers(-1)])
        real, lengths = self._real_steps(counts)
        return replace(value, real=real, lengths=lengths)

    def _dot(self, layer: Dot, names: list[str], shapes: Sequence[Shape]) -> str:
        """Write a product of matrices (B, rows, n) and (B, n, columns), of which one row may be all."""
        graph = self.graph
        pair = layer.axes if isinstance(layer.axes, tuple) else (layer.axes, layer.axes)
        sides = []
        for number, (name, shape, axis) in enumerate(zip(names, shapes, pair, strict=True)):
            if len(shape) > 3:
                raise ValueError(f"axes: expected inputs of at most 3 axes, got shape {shape}")
            place, side = axis % len(shape), name
            if layer.normalize:
                square = graph.add("Mul", [side, side])
                total = graph.add("ReduceSum", [square, graph.integers(place)], keepdims=1)
                least = graph.tensor("least square", 1e-12)
                side = graph.add("Div", [side, graph.add("Sqrt", [graph.add("Max", [total, least])])])
            # The axis that is summed over is the last one on the left, and the one before it on the right.
            if len(shape) == 2:
                side = graph.add("Unsqueeze", [side, graph.integers(2 if number else 1)])
            elif place != (1 if number else 2):
                side = graph.add("Transpose", [side], perm=[0, 2, 1])
            sides.append(side)
        product = graph.add("MatMul", sides)
        left, right = (len(shape) == 2 for shape in shapes)
        axes = [1] if left else [2] if right else []
        return str(graph.add("Squeeze", [product, graph.integers(*axes)]) if axes else product)
