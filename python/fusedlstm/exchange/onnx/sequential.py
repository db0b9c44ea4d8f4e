"""Graphs that are stacks of layers, as `Sequential` models."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fusedlstm import limits
from fusedlstm.exchange.onnx import made as making
from fusedlstm.exchange.onnx.inputs import integers
from fusedlstm.exchange.onnx.known import Known
from fusedlstm.exchange.onnx.lstm import WEIGHTS, LSTMOperator, UnpackedLSTM
from fusedlstm.exchange.onnx.made import Made
from fusedlstm.exchange.onnx.values import Value, joined, summed
from fusedlstm.layers import (
    Activation,
    Dropout,
    Flatten,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    InputLayer,
    Reshape,
)
from fusedlstm.model import Sequential

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fusedlstm.exchange.onnx.file import Array
    from fusedlstm.exchange.onnx.model import OnnxInput, Step
    from fusedlstm.layers import Layer

__all__ = ["sequential"]

# What the axes of the input may be, by its kind and their number; the first that makes a model is taken.
_AXES = {
    ("f", 3): ("BTF", "TBF"),
    ("f", 2): ("BF", "TF", "BT", "TB"),
    ("f", 1): ("T",),
    ("i", 2): ("BT", "TB"),
    ("i", 1): ("T",),
}
# Lengths of axes of any length: primes that no other axis is likely to have.
_ANY = {"B": 251, "T": 241, "F": 239}
# A number in a list of Python's, rounded up for the time that making it takes.
_INDEX = 64


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
        reader = _Reader(constants, opset, source, axes)
        try:
            try:
                return reader.model(steps, outputs)
            except _FixedError as fixed:
                lengths = tuple(
                    fixed.size if letter == fixed.letter else size for letter, size in reader.sizes.items()
                )
                reader = _Reader(constants, opset, replace(source, shape=lengths), axes)
                return reader.model(steps, outputs)
        except ValueError as error:
            if furthest is None or reader.number > furthest[0]:
                furthest = (reader.number, error)
    assert furthest is not None
    raise furthest[1]


class _FixedError(ValueError):
    """A graph takes one length only of an axis that it says may have any, as PyTorch writes some."""

    def __init__(self, letter: str, size: int) -> None:
        super().__init__(f"expected any length of the axis {letter}, got {size}")
        self.letter, self.size = letter, size


class _Reader:
    def __init__(self, constants: Mapping[str, Array], opset: int, source: OnnxInput, axes: str) -> None:
        self.known = Known(constants)
        self.opset = opset
        self.dtype = str(source.dtype) if source.dtype.kind == "f" else "float32"
        assert source.shape is not None
        self.axes = axes
        self.sizes = {
            letter: size if isinstance(size, int) else None
            for letter, size in zip(axes, source.shape, strict=True)
        }
        rows, count, features = (
            (self.sizes[letter] or _ANY[letter]) if letter in axes else 1 for letter in "BTF"
        )
        self.values = {source.name: Value(tuple(axes), rows, count, features)}
        self.made: list[Made] = []
        self.sequences = "T" in axes  # whether the last layer's output has steps
        self.number = 0  # of the node that is read

    def model(self, steps: Sequence[Step], outputs: Sequence[str]) -> Sequential:
        """Make the model."""
        for self.number, step in enumerate(steps):
            try:
                self._read(step)
            except _FixedError:
                raise
            except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{step.label}: {error}") from error
        self.number = len(steps)
        for name in outputs[1:]:
            if name not in self.values or self.values[name].what == "y":
                raise ValueError(f"output {name!r}: expected the last states of LSTMs after the first output")
        if outputs[0] not in self.values:
            raise ValueError(f"output {outputs[0]!r}: expected one that the input has a part in")
        self._end(self.values[outputs[0]])
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
        given = [self.values[name] for name in step.inputs if name in self.values]
        operator, output = step.operator, step.outputs[0]
        if operator == "LSTM":
            self._lstm(step)
        elif not given:
            self.known.read(step)
        elif operator == "Shape":
            self.known.shape(step, given[0].shape)
        elif operator == "Concat" and len(given) == len(step.inputs):
            self.values[output] = joined(given, step.attributes["axis"])
        elif operator in ("Add", "Mul") and len(given) == 2:
            self.values[output] = summed(given, "sum" if operator == "Add" else "mul")
        elif len(given) != 1:
            raise ValueError("expected one layer after the other, got a node over several values")
        elif operator in _MOVES:
            self.values[output] = _MOVES[operator](self, step, given[0])
        else:
            self.values[output] = self._layer(step, given[0])

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
        value = self._finished(value)
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

    def _finished(self, value: Value) -> Value:
        """Make the layer that a value comes from, once it is known which of its outputs this is.

        Returns the value as any layer's: of one direction, whose features are all.
        """
        value = value.settled()
        if value.layer != len(self.made):
            raise ValueError("expected one layer after the other, got a connection that skips one")
        features = value.features
        if any("D" in axis for axis in value.axes):
            if value.merge is not None or not any("DF" in axis for axis in value.axes):
                raise ValueError(f"expected the outputs of all directions, merged, got {value}")
            features *= len(value.parts)
        if self.made and self.made[-1].node is not None:
            self.made[-1] = making.recurrent(self.made[-1].node, value)
            self.sequences = value.what == "y"
        elif value.turned or value.step is not None:
            raise ValueError("expected all steps of a layer's input in their order")
        value = value.without("D")
        if self.sequences and value.steps == 1 and not any("T" in axis for axis in value.axes):
            self.made.append(Made(layer=Flatten(dtype=self.dtype)))
            self.sequences = False
        return Value(value.axes, value.rows, value.steps, features, ((len(self.made), 0),))

    def _layer(self, step: Step, value: Value) -> Value:
        """Follow a node that is a layer, or a part of one."""
        operator, a = step.operator, step.attributes
        others = [self.known[name] for name in step.inputs if name and name not in self.values]
        number = float(others[0].reshape(())) if len(others) == 1 and others[0].size == 1 else None
        if value.merge == "sum" and (operator, number) in (("Mul", 0.5), ("Div", 2.0)):
            return replace(value, merge="ave")
        if operator == "Add" and self.made and value.layer == len(self.made):
            made = making.biased(self.made[-1], others[0])
            if made is not None:
                self.made[-1] = made
                return value
        if operator in ("ReduceMean", "ReduceSum", "ReduceMax"):
            return self._reduced(step, value)
        value = self._finished(value)
        if operator == "Gather":
            if value.layer or step.inputs[0] in self.values or a.get("axis", 0) != 0:
                raise ValueError("expected ids that choose vectors of a table")
            made = making.embedding(self.known[step.inputs[0]])
            return self._added(replace(value, axes=(*value.axes, "F")), made, made.weights[0].shape[1])
        if value.axes[-1:] in (("TF",), ("FT",)):
            value = self._flat(value)
        if value.axes[-1:] != ("F",):
            raise ValueError(f"expected a layer's input with the features last, got {value}")
        shift = others[1] if len(others) > 1 else None
        if operator in ("MatMul", "Gemm"):
            factors = (a.get("alpha", 1.0), a.get("beta", 1.0))
            if step.inputs[0] not in self.values or a.get("transA", 0) or factors != (1.0, 1.0):
                raise ValueError("expected a plain product with a constant matrix")
            made = making.dense(others[0].T if a.get("transB", 0) else others[0], shift)
            return self._added(value, made, made.weights[0].shape[1])
        if operator == "LayerNormalization":
            if a.get("axis", -1) not in (-1, len(value.axes) - 1):
                raise ValueError("expected a normalization of the features")
            made = making.normalization(others[0], shift, a.get("epsilon", 1e-5))
            return self._added(value, made, value.features)
        layer: Layer
        if operator == "Dropout":
            layer = Dropout(self._rate(step), dtype=self.dtype)
        else:
            layer = Activation(making.activation(operator, a, len(value.axes), self.opset), dtype=self.dtype)
        return self._added(value, Made(layer=layer), value.features)

    def _rate(self, step: Step) -> float:
        """Return the share that a Dropout node drops in training."""
        if self.opset < 12:
            return float(step.attributes.get("ratio", 0.5))
        return float(self.known[step.inputs[1]].reshape(())) if "".join(step.inputs[1:2]) else 0.5

    def _reduced(self, step: Step, value: Value) -> Value:
        """Follow what makes one step, or one direction, of all."""
        given = _axes(self, step)
        axes = [] if given is None else [axis % len(value.axes) for axis in given]
        letters = "".join(value.axes[axis] for axis in axes)
        keep = step.attributes.get("keepdims", 1)
        operator = step.operator
        if letters == "D" and operator != "ReduceMax" and len(value.parts) == 2 and value.merge is None:
            value = replace(value.without("D"), merge="sum" if operator == "ReduceSum" else "ave")
        elif letters == "T" and len(axes) == 1 and operator != "ReduceSum":
            value = self._finished(value)
            pooling = GlobalMaxPooling1D if operator == "ReduceMax" else GlobalAveragePooling1D
            self.sequences = False
            value = self._added(value.without("T"), Made(layer=pooling(dtype=self.dtype)), value.features)
        else:
            raise ValueError(f"expected the mean or the maximum over the steps, got axes {given} of {value}")
        kept = tuple(one for axis, one in enumerate(value.axes) if axis not in axes)
        return value if keep else replace(value, axes=kept)

    def _added(self, value: Value, made: Made, features: int) -> Value:
        self.made.append(made)
        return replace(value, features=features, parts=((len(self.made), 0),))

    def _flat(self, value: Value) -> Value:
        if value.axes not in (("B", "TF"), ("TF",)):
            raise ValueError(f"expected rows of all steps' features, got {value}")
        size, self.sequences = value.size("TF"), False
        value = self._added(value, Made(layer=Flatten(dtype=self.dtype)), size)
        return replace(value, axes=(*value.axes[:-1], "F"), steps=1)

    def _end(self, value: Value) -> None:
        """Finish the last layer, whose output is the model's."""
        value = self._finished(value)
        if value.axes[-1:] == ("TF",):
            value = self._flat(value)
        orders = ["BT", "B"] if self.axes[0] == "B" else ["BT", "TB", "B"] if "B" in self.axes else ["T", ""]
        for order in orders:
            if value.is_of(*order, "F") and self.made:
                return
            if value.is_of(*order) and value.features == 1 and self.made:
                shape = (-1,) if "T" in order else ()
                self._added(value, Made(layer=Reshape(shape, dtype=self.dtype)), 1)
                return
        raise ValueError(f"expected layers whose output has the batch rows first, got {value}")


def _transposed(reader: _Reader, step: Step, value: Value) -> Value:
    del reader
    return value.transposed(step.attributes.get("perm"))


def _axes(reader: _Reader, step: Step) -> list[int] | None:
    given = step.attributes.get("axes")
    if given is None and len(step.inputs) > 1 and step.inputs[1]:
        given = integers(reader.known[step.inputs[1]], "axes")
    return given


def _squeezed(reader: _Reader, step: Step, value: Value) -> Value:
    return value.squeezed(_axes(reader, step))


def _unsqueezed(reader: _Reader, step: Step, value: Value) -> Value:
    return value.unsqueezed(_axes(reader, step) or [])


def _reshaped(reader: _Reader, step: Step, value: Value) -> Value:
    shape = integers(reader.known[step.inputs[1]], "shape")
    try:
        return value.reshaped(shape, bool(step.attributes.get("allowzero", 0)))
    except ValueError:
        for letter, size in zip(value.axes, shape, strict=False):
            anything = letter in ("B", "T") and reader.sizes.get(letter, size) is None
            if anything and size > 0 and size != value.size(letter):
                raise _FixedError(letter, size) from None
        raise


def _flattened(reader: _Reader, step: Step, value: Value) -> Value:
    del reader
    axis = step.attributes.get("axis", 1)
    return value.reshaped([math.prod(value.shape[:axis]), -1])


def _gathered(reader: _Reader, step: Step, value: Value) -> Value:
    if step.inputs[0] not in reader.values:
        return reader._layer(step, value)  # An embedding.
    indices = reader.known[step.inputs[1]]
    limits.claim(_INDEX * indices.size, "indices")
    chosen = integers(indices, "indices", few=False)
    return value.taken(step.attributes.get("axis", 0), chosen, keep=indices.ndim > 0)


def _sliced(reader: _Reader, step: Step, value: Value) -> Value:
    if reader.opset < 10:
        given: list[Any] = [step.attributes.get(name) for name in ("starts", "ends", "axes")]
    else:
        given = [integers(reader.known[name], "input") if name else None for name in step.inputs[1:]]
    starts, ends, axes, by = (*given, None, None)[:4]
    axes = range(len(starts)) if axes is None else axes
    by = [1] * len(starts) if by is None else by
    for start, end, axis, stride in zip(starts, ends, axes, by, strict=True):
        # ONNX's ends are clipped as Python's, but for one before the first, which there is no number for.
        indices = range(value.shape[axis])[slice(start, end, stride)]
        value = value.taken(axis, indices, keep=True)
    return value


_MOVES = {
    "Flatten": _flattened,
    "Gather": _gathered,
    "Identity": lambda reader, step, value: value,  # noqa: ARG005
    "Reshape": _reshaped,
    "Slice": _sliced,
    "Squeeze": _squeezed,
    "Transpose": _transposed,
    "Unsqueeze": _unsqueezed,
}
