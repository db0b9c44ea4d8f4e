"""Graphs that are stacks of layers, as `Sequential` models.

A graph's values are followed by what their axes are: B batch rows, T steps, D directions, F features. What is
not a layer moves these letters around, and a layer takes its input's with F last.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.cell_options import ACTIVATIONS, CellOptions
from fusedlstm.exchange.onnx.lstm import LSTMOperator
from fusedlstm.layers import LSTM, Activation, Bidirectional, Dense, Flatten, InputLayer
from fusedlstm.model import Sequential

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fusedlstm.exchange.onnx.file import Array
    from fusedlstm.exchange.onnx.model import OnnxInput, Step
    from fusedlstm.layers import Layer

__all__ = ["sequential"]

# Activations by operator, with the parameters that this package's function of the name has.
_ACTIVATIONS: dict[str, tuple[str, dict[str, float]]] = {
    "Elu": ("elu", {"alpha": 1.0}),
    "Exp": ("exponential", {}),
    "HardSigmoid": ("hard_sigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    "LeakyRelu": ("leaky_relu", {"alpha": 0.2}),
    "Relu": ("relu", {}),
    "Sigmoid": ("sigmoid", {}),
    "Softplus": ("softplus", {}),
    "Softsign": ("softsign", {}),
    "Tanh": ("tanh", {}),
}
_DEFAULTS = {"HardSigmoid": {"alpha": 0.2, "beta": 0.5}, "LeakyRelu": {"alpha": 0.01}, "Elu": {"alpha": 1.0}}


@dataclass(frozen=True)
class _Value:
    """A value on the way from one layer to the next."""

    layer: int  # how many layers there are before it
    axes: str
    part: int | None = None  # which direction it is of
    turned: bool = False  # whether steps are turned around
    last: bool = False  # whether it is of the last step only
    merge: str | None = None  # how directions were merged


@dataclass
class _Made:
    """A layer in the making: an LSTM node, or a layer and its weights."""

    node: LSTMOperator | None = None
    layer: Layer | None = None
    weights: tuple[Array, ...] = ()


def sequential(
    steps: Sequence[Step],
    constants: Mapping[str, Array],
    inputs: Sequence[OnnxInput],
    outputs: Sequence[str],
    opset: int,
) -> Sequential:
    """Make a model of a graph's layers; `ValueError` naming the node where it is no stack of layers."""
    if len(inputs) != 1 or len(outputs) != 1 or inputs[0].shape is None or inputs[0].dtype.kind != "f":
        raise ValueError("expected one input of floating-point numbers and one output")
    shape = inputs[0].shape
    if len(shape) not in (2, 3):
        raise ValueError(f"expected an input with 2 or 3 axes, got shape {shape}")
    reader = _Reader(constants, opset, str(inputs[0].dtype))
    reader.values[inputs[0].name] = _Value(0, "BTF" if len(shape) == 3 else "BF")
    for step in steps:
        try:
            reader.read(step)
        except (KeyError, ValueError) as error:
            raise ValueError(f"{step.label}: {error}") from error
    result = reader.values.get(outputs[0])
    if result is None or result.axes not in ("BTF", "BF") or not reader.made:
        raise ValueError("expected layers whose output has the batch rows first")
    reader.finish(result)
    layers = [made.layer for made in reader.made if made.layer is not None]
    sizes = [size if isinstance(size, int) else None for size in shape[1:]]
    sizes[-1] = reader.features if sizes[-1] is None else sizes[-1]
    model = Sequential([InputLayer(sizes), *layers])
    if not model.built:
        model.build((None, *sizes))
    model.set_weights([array for made in reader.made for array in made.weights])
    return model


class _Reader:
    def __init__(self, constants: Mapping[str, Array], opset: int, dtype: str) -> None:
        self.constants = constants
        self.opset = opset
        self.dtype = dtype
        self.values: dict[str, _Value] = {}
        self.made: list[_Made] = []
        self.features: int | None = None
        # Values that hold sizes only, and those that hold zeros only, as initial states do.
        self.sizes: set[str] = set()
        self.zeros: set[str] = set()

    def read(self, step: Step) -> None:
        """Follow one node."""
        names = [name for name in step.inputs if name]
        given = [name for name in names if name in self.values]
        output = step.outputs[0]
        if step.operator == "LSTM":
            self._lstm(step)
        elif step.operator == "Shape":
            self.sizes.add(output)
        elif not given:
            self._without_values(step, names)
        elif len(given) == 2:
            self.values[output] = self._merged(step, [self.values[name] for name in given])
        elif step.operator in ("Identity", "Dropout"):
            self.values[output] = self.values[given[0]]
        elif step.operator in ("Transpose", "Squeeze", "Gather", "Slice", "Reshape"):
            self.values[output] = self._moved(step, self.values[given[0]])
        else:
            self._layer(step, given[0])

    def finish(self, value: _Value) -> None:
        """Make the layer that a value comes from, once it is known which of its outputs this is."""
        if value.layer != len(self.made):
            raise ValueError("expected one layer after the other, got a connection that skips one")
        if self.made and self.made[-1].node is not None:
            made = self.made[-1]
            assert made.node is not None
            made.layer, made.weights = _recurrent(made.node, value)
            made.node = None
        elif value.part is not None or value.turned:
            raise ValueError("expected the input of a layer in its own order")

    def _without_values(self, step: Step, names: list[str]) -> None:
        known = [name for name in names if name not in self.constants]
        (output, *_) = step.outputs
        if step.operator == "ConstantOfShape":
            zero = not np.any(step.run([np.ones(1, np.int64)])[0])
        elif step.operator == "Expand" and names[0] in self.constants:
            zero = not self.constants[names[0]].any()
        else:
            zero = names[0] in self.zeros
        if zero:
            self.zeros.add(output)
        elif all(name in self.sizes for name in known):
            self.sizes.add(output)
        else:
            raise ValueError("expected a stack of layers, got a node between others")

    def _moved(self, step: Step, value: _Value) -> _Value:
        """Follow a node that only moves numbers."""
        axes = value.axes
        if step.operator == "Transpose":
            order = step.attributes.get("perm", range(len(axes))[::-1])
            return replace(value, axes="".join(axes[i] for i in order))
        if step.operator == "Reshape":
            if axes not in ("TBDF", "BTDF", "BDF") or list(self._constant(step, 1)) not in (
                [0, 0, -1],
                [0, -1],
            ):
                raise ValueError("expected only directions and features to become one axis")
            if len(self._constant(step, 1)) != len(axes) - 1:
                raise ValueError("expected only directions and features to become one axis")
            return replace(value, axes=axes.replace("D", ""), merge="concat")
        if step.operator == "Squeeze":
            given = step.attributes.get("axes") if self.opset < 13 else list(self._constant(step, 1))
            if given is None or [axes[axis] for axis in given] != ["D"]:
                raise ValueError("expected the axis of a single direction")
            return replace(value, axes=axes.replace("D", ""))
        if step.operator == "Gather":
            axis, index = axes[step.attributes.get("axis", 0)], self._constant(step, 1)
            if index.ndim == 0 and axis == "D" and value.part is None:
                return replace(value, axes=axes.replace("D", ""), part=int(index))
            if index.ndim == 0 and axis == "T" and int(index) == -1 and not value.turned:
                return replace(value, axes=axes.replace("T", ""), last=True)
            raise ValueError("expected one direction, or the last step")
        if self.opset < 10 or len(step.inputs) < 4:
            raise ValueError("expected one direction, or all steps turned around")
        start, end, where = (self._constant(step, number) for number in (1, 2, 3))
        by = self._constant(step, 4) if len(step.inputs) > 4 else np.ones(1, np.int64)
        if [len(one) for one in (start, end, where, by)] != [1, 1, 1, 1]:
            raise ValueError("expected one axis")
        axis, first, stop, stride = axes[int(where[0])], int(start[0]), int(end[0]), int(by[0])
        if axis == "T" and (first, stride) == (-1, -1) and stop < -(2**31):
            return replace(value, turned=not value.turned)
        if axis == "D" and (stop, stride) == (first + 1, 1) and first in (0, 1) and value.part is None:
            return replace(value, part=first)
        raise ValueError("expected one direction, or all steps turned around")

    def _merged(self, step: Step, values: list[_Value]) -> _Value:
        """Follow a node that merges two directions."""
        one, two = values
        modes = {"Concat": "concat", "Add": "sum", "Mul": "mul"}
        if step.operator not in modes or (one.part, two.part) != (0, 1) or replace(two, part=0) != one:
            raise ValueError("expected the two directions of an LSTM in their order")
        if step.operator == "Concat" and step.attributes["axis"] not in (-1, len(one.axes) - 1):
            raise ValueError("expected features to be joined")
        if "D" in one.axes:
            raise ValueError("expected one direction each")
        return replace(one, part=None, merge=modes[step.operator])

    def _lstm(self, step: Step) -> None:
        node = step.run
        assert isinstance(node, LSTMOperator)
        inputs = [*step.inputs, *[""] * 8]
        if inputs[4] or any(name and name not in self.zeros for name in inputs[5:7]):
            raise ValueError("expected no sequence_lens, and initial states of zeros")
        value = self.values[inputs[0]]
        if value.axes != ("BTF" if node.batch_first else "TBF"):
            raise ValueError("expected the graph's input with the batch rows first")
        self.finish(value)
        self._begin(_Made(node=node), node.inputs)
        number = len(self.made)
        letters = ("BTDF", "BDF") if node.batch_first else ("TDBF", "DBF")
        for name, axes in zip(step.outputs[:2], letters, strict=False):
            if name:
                self.values[name] = _Value(number, axes)

    def _layer(self, step: Step, source: str) -> None:
        """Follow a node that is a layer, or a part of one."""
        value, output = self.values[source], step.outputs[0]
        constants = [self.constants[name] for name in step.inputs if name in self.constants]
        if step.operator == "Mul" and value.merge == "sum" and constants[0].size == 1 and constants[0] == 0.5:
            self.values[output] = replace(value, merge="ave")
            return
        if step.operator == "Add" and self._adds_bias(value, constants[0]):
            self.values[output] = value
            return
        if value.axes[-1] != "F" or "D" in value.axes:
            raise ValueError("expected a layer's input with the features last")
        self.finish(value)
        axes = value.axes
        if step.operator in ("MatMul", "Gemm"):
            made = self._dense(step, constants)
            self._begin(made, made.weights[0].shape[0])
        elif step.operator == "Flatten" and step.attributes.get("axis", 1) == 1 and axes[0] == "B":
            self._begin(_Made(layer=Flatten(dtype=self.dtype)), None)
            axes = "BF"
        else:
            self._begin(_Made(layer=Activation(self._activation(step, axes), dtype=self.dtype)), None)
        self.values[output] = _Value(len(self.made), axes)

    def _begin(self, made: _Made, features: int | None) -> None:
        if not self.made:
            self.features = features
        self.made.append(made)

    def _dense(self, step: Step, constants: list[Array]) -> _Made:
        a = step.attributes
        kernel = self.constants[step.inputs[1]]
        if kernel.ndim != 2 or a.get("transA", 0) or a.get("alpha", 1.0) != 1 or a.get("beta", 1.0) != 1:
            raise ValueError("expected a plain product with a constant matrix")
        kernel = kernel.T if a.get("transB", 0) else kernel
        layer = Dense(kernel.shape[1], use_bias=len(constants) > 1, dtype=str(kernel.dtype))
        bias = tuple(np.broadcast_to(one, (1, kernel.shape[1]))[0] for one in constants[1:])
        return _Made(layer=layer, weights=(kernel, *bias))

    def _adds_bias(self, value: _Value, bias: Array) -> bool:
        """Give the last layer a bias, if it is a Dense without one."""
        made = self.made[-1] if self.made and value.layer == len(self.made) else _Made()
        if not isinstance(made.layer, Dense) or made.layer.use_bias or bias.shape != (made.layer.units,):
            return False
        made.layer = Dense(made.layer.units, name=made.layer.name, dtype=made.layer.dtype)
        made.weights = (*made.weights, bias)
        return True

    def _activation(self, step: Step, axes: str) -> str:
        if step.operator == "Softmax":
            last = len(axes) - 1
            axis = step.attributes.get("axis", -1 if self.opset >= 13 else 1)
            if axis not in (-1, last) or (self.opset < 13 and last != 1 and axis != last):
                raise ValueError("expected a softmax over the features")
            return "softmax"
        name, expected = _ACTIVATIONS[step.operator]
        for key, number in expected.items():
            given = step.attributes.get(key, _DEFAULTS[step.operator][key])
            if np.float32(given) != np.float32(number):
                raise ValueError(f"{key}: expected {number}, which {name} has here, got {given}")
        return name

    def _constant(self, step: Step, number: int) -> Array:
        name = step.inputs[number] if number < len(step.inputs) else ""
        if name not in self.constants:
            raise ValueError(f"input {number}: expected a constant, got {name!r}")
        return self.constants[name]


def _recurrent(node: LSTMOperator, value: _Value) -> tuple[Layer, tuple[Array, ...]]:
    """Return the layer of an LSTM node whose output `value` is, and its weights."""
    sequences = "T" in value.axes
    merges = (None, "concat") if len(node.backwards) == 1 else ("concat", "sum", "mul", "ave")
    if "D" in value.axes or value.part is not None or value.merge not in merges:
        raise ValueError("expected the outputs of all directions, merged")
    if value.last and node.backwards != (False,):
        raise ValueError("expected all steps, or the last states")
    if value.turned != (sequences and node.backwards == (True,)):
        raise ValueError("expected steps in the order in which the layer reads them")
    made = []
    for backwards, options in zip(node.backwards, node.options, strict=True):
        arguments = _arguments(options or CellOptions())
        made.append(
            LSTM(
                node.units,
                use_bias=node.use_bias,
                go_backwards=backwards,
                return_sequences=sequences,
                dtype=node.dtype,
                **arguments,
            )
        )
    layer: Layer = made[0]
    if len(made) == 2:
        layer = Bidirectional(made[0], value.merge, backward_layer=made[1])
    return layer, node.keras_weights()


def _arguments(options: CellOptions) -> dict[str, Any]:
    if options.gate_clip is not None:
        raise ValueError("clip: expected none, as layers have no such option")
    names = []
    for number, alpha, beta in options.activations:
        wanted = (number, np.float32(alpha), np.float32(beta))
        found = [n for n, (k, a, b) in ACTIVATIONS.items() if (k, np.float32(a), np.float32(b)) == wanted]
        if not found:
            raise ValueError("activations: expected those that layers have, with their parameters")
        names.append(found[0])
    gate, candidate, output = names
    if candidate != output:
        raise ValueError(f"activations: expected one for the candidate and the state, got {names[1:]}")
    return {
        "recurrent_activation": gate,
        "activation": candidate,
        "coupled": options.coupled,
        "use_peepholes": options.peepholes is not None,
    }
