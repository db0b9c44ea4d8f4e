"""Graphs that are stacks of layers, as `Sequential` models."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fusedlstm.exchange.onnx.layering import applied
from fusedlstm.exchange.onnx.lstm import WEIGHTS, LSTMOperator, UnpackedLSTM
from fusedlstm.exchange.onnx.made import Made
from fusedlstm.exchange.onnx.moves import MOVES, split
from fusedlstm.exchange.onnx.reader import FixedError, Reader
from fusedlstm.exchange.onnx.steps import Branches
from fusedlstm.exchange.onnx.values import Value, joined, summed
from fusedlstm.layers import (
    InputLayer,
    Reshape,
)
from fusedlstm.models.sequential import Sequential

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fusedlstm.exchange.onnx.file import Array
    from fusedlstm.exchange.onnx.model import OnnxInput
    from fusedlstm.exchange.onnx.steps import Step

# What the axes of the input may be, by its kind and their number; the first that makes a model is taken.
_AXES = {
    ("f", 3): ("BTF", "TBF"),
    ("f", 2): ("BF", "TF", "BT", "TB"),
    ("f", 1): ("T",),
    ("i", 2): ("BT", "TB"),
    ("i", 1): ("T",),
}


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
    (source,) = inputs
    key = (source.dtype.kind, 0 if source.shape is None else len(source.shape))
    if key not in _AXES:
        raise ValueError(
            f"input {source.name!r}: expected floating-point numbers with 1 to 3 axes, or integers with 1 or "
            f"2, got {source.dtype} of shape {source.shape}"
        )
    furthest: tuple[int, ValueError] | None = None
    for axes in _AXES[key]:
        reader = _Follower(constants, opset, source, axes)
        try:
            try:
                return reader.model(steps, outputs)
            except FixedError as fixed:
                lengths = tuple(
                    fixed.size if letter == fixed.letter else size for letter, size in reader.sizes.items()
                )
                reader = _Follower(constants, opset, replace(source, shape=lengths), axes)
                return reader.model(steps, outputs)
        except ValueError as error:
            if furthest is None or reader.number > furthest[0]:
                furthest = (reader.number, error)
    assert furthest is not None
    raise furthest[1]


class _Follower(Reader):
    """What follows a graph's nodes, one after the other."""

    def model(self, steps: Sequence[Step], outputs: Sequence[str]) -> Sequential:
        """Make the model."""
        for self.number, step in enumerate(steps):
            self._read(step)
        self.number = len(steps)
        for name in outputs[1:]:
            if name not in self.values or self.values[name].what == "y":
                raise ValueError(f"output {name!r}: expected the last states of LSTMs after the first output")
        if outputs[0] not in self.values:
            raise ValueError(f"output {outputs[0]!r}: expected one that the input has a part in")
        try:
            self._end(self.values[outputs[0]])
        except ValueError as error:
            raise ValueError(f"output {outputs[0]!r}: {error}") from error
        layers = [made.layer for made in self.made if made.layer is not None]
        sizes = [self.sizes[letter] for letter in "TF" if letter in self.axes]
        if "F" in self.axes and sizes[-1] is None:
            weights = [array for made in self.made for array in made.weights]
            sizes[-1] = weights[0].shape[0] if weights else None
        model = Sequential([InputLayer(sizes), *layers])
        if not model.built:
            model.build((None, *sizes))
        model.set_weights([array for made in self.made for array in made.weights])
        return model

    def _read(self, step: Step) -> None:
        """Follow one node."""
        try:
            self._follow(step)
        except FixedError:
            raise
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{step.label}: {error}") from error

    def _follow(self, step: Step) -> None:
        given = [self.values[name] for name in step.inputs if name in self.values]
        operator, output = step.operator, step.outputs[0]
        if operator == "LSTM":
            self._lstm(step)
        elif not given:
            self.known.read(step)
        elif operator == "If":
            self._branch(step)
        elif operator == "Shape":
            self.known.shape(step, given[0].shape)
        elif operator == "Concat" and len(given) == len(step.inputs):
            self.values[output] = joined(given, step.attributes["axis"])
        elif operator in ("Add", "Mul") and len(given) == 2:
            self.values[output] = summed(given, "sum" if operator == "Add" else "mul")
        elif len(given) != 1:
            raise ValueError("expected one layer after the other, got a node over several values")
        elif operator == "Split":
            self.values |= zip(step.outputs, split(self, step, given[0]), strict=True)
        elif operator in MOVES and step.inputs[0] in self.values:
            self.values[output] = MOVES[operator](self, step, given[0])
        else:
            self.values[output] = applied(self, step, given[0])

    def _branch(self, step: Step) -> None:
        """Follow the branch of an If node that its condition, one of sizes, chooses."""
        assert isinstance(step.run, Branches)
        body, constants = step.run.chosen(self.known[step.inputs[0]])
        self.known.add(constants)
        for inner in body.steps:
            self._read(inner)
        for name, source in zip(step.outputs, body.outputs, strict=True):
            self.values[name] = self.values[source]

    def _lstm(self, step: Step) -> None:
        inputs = [*step.inputs, *[""] * 8]
        for place, name in ((4, "sequence_lens"), (5, "initial_h"), (6, "initial_c")):
            if inputs[place] and (place == 4 or not self.known.is_zero(inputs[place])):
                wanted = "none" if place == 4 else "zeros"
                raise ValueError(f"{name}: expected {wanted}, as layers have it, got {inputs[place]!r}")
        node = step.run
        assert isinstance(node, LSTMOperator | UnpackedLSTM)
        if isinstance(node, UnpackedLSTM):
            weights = {place: self.known[inputs[place]] for place in WEIGHTS if inputs[place]}
            node = node.packed([weights.get(place) for place in range(8)])
        if inputs[0] not in self.values:
            raise ValueError(f"X: expected what comes of the input, got {inputs[0]!r}")
        value = self.values[inputs[0]]
        last = "DF" if "DF" in value.axes else "F"
        order = "BT" if node.batch_first else "TB"
        if not value.is_of(*order, last):
            raise ValueError(f"X: expected the axes {', '.join(order)} and F, got {value}")
        value = self.finished(value)
        if not self.made and len(self.axes) - ("B" in self.axes) < 2:
            # A number for each step, or one step.
            shape = (-1, 1) if "T" in self.axes else (1, -1)
            self.made.append(Made(layer=Reshape(shape, dtype=self.dtype)))
        self.made.append(Made(node=node))
        D = len(node.backwards)
        rows, steps = value.axes[:2] if node.batch_first else value.axes[1::-1]
        direction = "D" if D > 1 else ""
        states = (rows, direction, "F") if node.batch_first else (direction, rows, "F")
        axes = (rows, steps, direction, "F") if node.batch_first else (steps, direction, rows, "F")
        parts = tuple((len(self.made), number) for number in range(D))
        one = Value(axes, value.rows, value.steps, node.units, parts, node.backwards)
        for name, what in zip(step.outputs, "yhc", strict=False):
            if name:
                self.values[name] = replace(one, what=what, axes=axes if what == "y" else states)

    def _end(self, value: Value) -> None:
        """Finish the last layer, whose output is the model's."""
        value = self.finished(value)
        if value.axes[-1:] == ("TF",):
            value = self.flat(value)
        orders = ["BT", "B"] if self.axes[0] == "B" else ["BT", "TB", "B"] if "B" in self.axes else ["T", ""]
        for order in orders:
            if value.is_of(*order, "F") and self.made:
                return
            if value.is_of(*order) and value.features == 1 and self.made:
                shape = (-1,) if "T" in order else ()
                self.added(value, Made(layer=Reshape(shape, dtype=self.dtype)), 1)
                return
        raise ValueError(f"expected layers whose output has the batch rows first, got {value}")
