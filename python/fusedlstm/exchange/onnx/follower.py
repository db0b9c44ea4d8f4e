"""What follows a graph's nodes, and makes calls of layers of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fusedlstm.exchange.onnx.layering import applied
from fusedlstm.exchange.onnx.lstm import WEIGHTS, LSTMOperator, UnpackedLSTM
from fusedlstm.exchange.onnx.made import Made
from fusedlstm.exchange.onnx.moves import MOVES, split
from fusedlstm.exchange.onnx.reader import FixedError, Reader
from fusedlstm.exchange.onnx.steps import RECURRENT, Branches
from fusedlstm.exchange.onnx.values import Value
from fusedlstm.layers import Reshape

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import TypeVar

    from fusedlstm.exchange.onnx.file import Array
    from fusedlstm.exchange.onnx.model import OnnxInput
    from fusedlstm.exchange.onnx.steps import Step

    Kind = TypeVar("Kind", bound="Follower")


class Follower(Reader):
    """What follows a graph's nodes, one after the other."""

    def follow(self, steps: Sequence[Step]) -> None:
        """Follow all nodes."""
        for self.number, step in enumerate(steps):
            self._read(step)
        self.number = len(steps)

    def ends(self, outputs: Sequence[str]) -> list[Value]:
        """Make the layers that outputs come from."""
        found = []
        for name in outputs:
            if name not in self.values:
                raise ValueError(f"output {name!r}: expected one that the input has a part in")
            try:
                found.append(self._end(self.values[name]))
            except ValueError as error:
                raise ValueError(f"output {name!r}: {error}") from error
        return found

    def input_shapes(self) -> list[list[int | None]]:
        """Return the shapes of inputs without batch rows; features may be known by what takes them."""
        known: dict[int, int] = {}
        for made in self.made:
            if made.node is not None:
                known.setdefault(made.sources[0], made.node.inputs)
            elif made.weights:
                known.setdefault(made.sources[0], made.weights[0].shape[0])
        shapes = []
        for number, (letters, sizes) in enumerate(zip(self.axes, self.sizes, strict=True), 1):
            shape = [sizes[letter] for letter in "TF" if letter in letters]
            if "F" in letters and shape[-1] is None:
                shape[-1] = known.get(number)
            shapes.append(shape)
        return shapes

    def merged(self, step: Step, given: Sequence[Value]) -> Value:
        """Follow a node over several values."""
        raise NotImplementedError

    def states(self, node: LSTMOperator, names: Sequence[str]) -> tuple[int, ...]:
        """Return after how many calls the initial states h and c are there of each direction."""
        raise NotImplementedError

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
        if operator in RECURRENT:
            self._lstm(step)
        elif not given:
            self.known.read(step)
        elif operator == "If":
            self._branch(step)
        elif operator == "Shape":
            self.known.shape(step, given[0].shape)
        elif len(given) == len(step.inputs) and (len(given) > 1 or operator == "Concat"):
            self.values[output] = self.merged(step, given)
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
        inside = [*constants, *(name for inner in body.steps for name in inner.outputs)]
        self.scoped |= {name: f"{step.label}: {name}" for name in inside}
        for inner in body.steps:
            self._read(inner)
        for name, source in zip(step.outputs, body.outputs, strict=True):
            self.values[name] = self.values[source]

    def _lstm(self, step: Step) -> None:
        inputs = [*step.inputs, *[""] * 8]
        if inputs[4]:
            raise ValueError(f"sequence_lens: expected none, as layers have it, got {inputs[4]!r}")
        node = step.run
        assert isinstance(node, LSTMOperator | UnpackedLSTM)
        places = RECURRENT[step.operator].places
        weights = [name for place, name in enumerate(step.weights) if place in places]
        names = (*(self.scoped.get(name, name) for name in weights), repr(step.attributes))
        if isinstance(node, UnpackedLSTM):
            arrays = {place: self.known[inputs[place]] for place in WEIGHTS if inputs[place]}
            node = node.packed([arrays.get(place) for place in range(8)])
        started = any(name and not self.known.is_zero(name) for name in inputs[5:7])
        states = self.states(node, inputs[5:7]) if started else ()
        if inputs[0] not in self.values:
            raise ValueError(f"X: expected what comes of the input, got {inputs[0]!r}")
        value = self.values[inputs[0]]
        last = "DF" if "DF" in value.axes else "F"
        order = "BT" if node.batch_first else "TB"
        if not value.is_of(*order, last):
            raise ValueError(f"X: expected the axes {', '.join(order)} and F, got {value}")
        value = self.finished(value)
        if value.layer <= len(self.inputs):
            letters = self.axes[value.layer - 1]
            if len(letters.strip()) - ("B" in letters) < 2:
                # A number for each step, or one step.
                shape = (-1, 1) if "T" in letters else (1, -1)
                value = self.added(
                    value, Made(layer=Reshape(shape, dtype=self.dtype)), value.features, sequences=True
                )
        self.made.append(Made(node=node, names=names, sources=(value.layer,), states=states))
        D = len(node.backwards)
        rows, steps = value.axes[:2] if node.batch_first else value.axes[1::-1]
        direction = "D" if D > 1 else ""
        ends = (rows, direction, "F") if node.batch_first else (direction, rows, "F")
        axes = (rows, steps, direction, "F") if node.batch_first else (steps, direction, rows, "F")
        parts = tuple((len(self.made), number) for number in range(D))
        one = Value(axes, value.rows, value.steps, node.units, parts, node.backwards)
        for name, what in zip(step.outputs, "yhc", strict=False):
            if name:
                self.values[name] = replace(one, what=what, axes=axes if what == "y" else ends)

    def _end(self, value: Value) -> Value:
        """Finish the layer whose output is one of the model's."""
        value = self.finished(value)
        if value.axes[-1:] == ("TF",):
            value = self.flat(value)
        if value.axes == ("", "B", "F"):
            value = value.squeezed([0])  # A state as PyTorch has it, of one layer and direction.
        rows_first = all(axes.strip()[0] == "B" for axes in self.axes)
        orders = ["BT", "B"] if rows_first else ["BT", "TB", "B"]
        if not any("B" in axes for axes in self.axes):
            orders = ["T", ""]
        for order in orders:
            if value.is_of(*order, "F"):
                return value
            if value.is_of(*order) and value.features == 1 and self.made[value.layer - 1].sources:
                shape = (-1,) if "T" in order else ()
                return self.added(value, Made(layer=Reshape(shape, dtype=self.dtype)), 1)
        raise ValueError(f"expected layers whose output has the batch rows first, got {value}")


# Axes that an input may have, by its kind and their number.
_AXES = {
    ("f", 3): ("BTF", "TBF"),
    ("f", 2): ("BF", "TF", "BT", "TB"),
    ("f", 1): ("T",),
    ("i", 2): ("BT", "TB"),
    ("i", 1): ("T",),
}
# The same of several inputs: all with the rows first, or all with the steps first, and then the same with
# states as PyTorch has them, after an axis of length 1 for one layer and direction.
_OF_SEVERAL = {
    ("f", 3): ("BTF", "TBF", "BTF", "TBF"),
    ("f", 2): ("BF",) * 4,
    ("i", 2): ("BT", "TB", "BT", "TB"),
}
_STATES = ("BTF", "TBF", " BF", " BF")


def _readings(inputs: Sequence[OnnxInput]) -> Iterable[tuple[str, ...]]:
    """Return what the axes of all inputs may be."""
    table = _AXES if len(inputs) == 1 else _OF_SEVERAL
    least = 1 if len(inputs) == 1 else 2
    found = []
    for one in inputs:
        key = (one.dtype.kind, 0 if one.shape is None else len(one.shape))
        if key not in table:
            raise ValueError(
                f"input {one.name!r}: expected floating-point numbers with {least} to 3 axes, or integers "
                f"with {least} to 2, got {one.dtype} of shape {one.shape}"
            )
        is_state = table is _OF_SEVERAL and one.shape is not None and key[1] == 3 and one.shape[0] == 1
        found.append(_STATES if is_state else table[key])
    return zip(*found, strict=True)


def followed(
    kind: type[Kind],
    steps: Sequence[Step],
    constants: Mapping[str, Array],
    inputs: Sequence[OnnxInput],
    outputs: Sequence[str],
    opset: int,
) -> tuple[Kind, list[Value]]:
    """Follow a graph, its axes read in the first way that makes layers, to its outputs."""
    furthest: tuple[int, ValueError] | None = None
    for axes in _readings(inputs):
        reader = kind(constants, opset, inputs, axes)
        try:
            try:
                reader.follow(steps)
                return reader, reader.ends(outputs)
            except FixedError as fixed:
                some = [_of_length(one, letters, fixed) for one, letters in zip(inputs, axes, strict=True)]
                reader = kind(constants, opset, some, axes)
                reader.follow(steps)
                return reader, reader.ends(outputs)
        except ValueError as error:
            if furthest is None or reader.number > furthest[0]:
                furthest = (reader.number, error)
    assert furthest is not None
    raise furthest[1]


def _of_length(one: OnnxInput, axes: str, fixed: FixedError) -> OnnxInput:
    assert one.shape is not None
    shape = tuple(
        fixed.size if letter == fixed.letter and not isinstance(size, int) else size
        for letter, size in zip(axes, one.shape, strict=True)
    )
    return replace(one, shape=shape)
