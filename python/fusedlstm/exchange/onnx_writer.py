"""Sequential models as ONNX graphs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.exchange.onnx_cell import PEEPHOLES, TO_ONNX, cell_attributes, exact, reordered
from fusedlstm.exchange.onnx_graph import Graph
from fusedlstm.io.atomic import write_file
from fusedlstm.layers import LSTM, Activation, Bidirectional, Dense, Dropout, Flatten, Masking

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from fusedlstm.layers import Layer
    from fusedlstm.model import Sequential
    from fusedlstm.variable import Array, Shape

__all__ = ["to_onnx"]

# The operators of activations, with the attributes that differ from the operator's defaults.
_ACTIVATIONS: dict[str, tuple[str, dict[str, float]]] = {
    "relu": ("Relu", {}),
    "elu": ("Elu", {}),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.2}),
    "exponential": ("Exp", {}),
    "softsign": ("Softsign", {}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    "sigmoid": ("Sigmoid", {}),
    "softplus": ("Softplus", {}),
    "tanh": ("Tanh", {}),
    "softmax": ("Softmax", {}),
}


def to_onnx(
    model: Sequential,
    path: str | os.PathLike[str],
    *,
    initial_states: bool = False,
    final_states: bool = False,
    right_padding: bool = False,
) -> None:
    """Write a model as an ONNX graph, for inference.

    The graph has the input ``input`` and the output ``output`` (``output_0`` and ``output_1`` after a last
    layer with ``merge_mode=None``), with any number of batch rows and, where the model says so, of steps. It
    uses version 17 of the standard operators.

    Parameters
    ----------
    model : Sequential
        A built model of LSTM, Bidirectional, Dense, Activation, Dropout, Flatten and Masking layers.
    path : path-like
        File to write; it appears only when complete.
    initial_states : bool
        Give each LSTM two more inputs, ``<layer>.initial_h`` and ``<layer>.initial_c`` (B, H), which are
        zeros where they are left out. Needed for ``stateful`` layers.
    final_states : bool
        Give each LSTM two more outputs, ``<layer>.final_h`` and ``<layer>.final_c`` (B, H).
    right_padding : bool
        Needed for `Masking`: ONNX knows masks by their number of real steps only, so say that masked steps
        will always come after all others.

    Raises
    ------
    ImportError
        When onnx is not installed.
    OSError
        When the file cannot be written.
    ValueError
        When the model is not built, or ONNX cannot say what a layer does; the message names layer and
        option.
    """
    if not model.built or model.input_shape is None:
        raise ValueError("model: expected a built model, got one whose weights are not made yet")
    graph = Graph(model.dtype)
    writer = _Writer(graph, model, initial_states, final_states, right_padding)
    shape = model.input_shape
    value = _Value([graph.input("input", _named(shape))])
    for layer in model.layers:
        if _LAYERS.get(type(layer)) is None:
            known = [cls.__name__ for cls in _LAYERS]
            raise ValueError(f"{layer.name}: expected layers of the classes {known}, got {layer!r}")
        if len(value.names) != 1:
            raise ValueError(f"{layer.name}: expected one input, got two of a layer with merge_mode=None")
        try:
            value = _LAYERS[type(layer)](writer, layer, value)
        except ValueError as error:
            raise ValueError(f"{layer.name}: {error}") from error
        shape = layer.compute_output_shape(shape)
    for number, name in enumerate(value.names):
        suffix = "" if len(value.names) == 1 else f"_{number}"
        graph.output(writer.batch_first(name, value), f"output{suffix}", _named(shape))
    for name, (state, units) in writer.states.items():
        graph.output(state, name, ("batch", units))
    write_file(path, [graph.serialized(model.name)])


def _named(shape: Shape) -> tuple[int | str | None, ...]:
    """Return a shape with the batch axis, and steps of any number, by name."""
    usual = ("batch", "steps") if len(shape) == 3 else ("batch",)
    names = (*usual, *[None] * len(shape))
    return tuple(name if size is None else size for size, name in zip(shape, names, strict=False))


@dataclass(frozen=True)
class _Value:
    """What a layer leaves for the next one."""

    names: list[str]  # one, or two after merge_mode=None
    steps_first: bool = False  # (T, B, ...) instead of (B, T, ...)
    real: str | None = None  # which steps are real, bool (T, B, 1)
    lengths: str | None = None  # how many, int32 (B)


class _Writer:
    def __init__(
        self, graph: Graph, model: Sequential, initial_states: bool, final_states: bool, right_padding: bool
    ) -> None:
        self.graph = graph
        self.dtype = model.dtype
        self.initial_states = initial_states
        self.final_states = final_states
        self.right_padding = right_padding
        self.states: dict[str, tuple[str, int]] = {}

    # Layers.

    def lstm(self, layer: LSTM, value: _Value) -> _Value:
        """Write an LSTM node."""
        (output,) = self._nodes([layer], layer.name, value)
        if not layer.return_sequences:
            return _Value([output])
        output = self.graph.reversed_steps(output) if layer.go_backwards else output
        return _Value([output], True, value.real, value.lengths)

    def bidirectional(self, layer: Bidirectional, value: _Value) -> _Value:
        """Write an LSTM node of two directions, and what merges them."""
        pair = [layer.forward_layer, layer.backward_layer]
        names = self._nodes(pair, layer.name, value)
        sequences = layer.forward_layer.return_sequences
        if sequences and layer.forward_layer.go_backwards:
            # Each layer's steps are in the order in which it reads, and the second one's are turned around:
            # both the other way round than those of the input here, and both like them otherwise.
            names = [self.graph.reversed_steps(name) for name in names]
        if layer.merge_mode == "concat":
            names = [self.graph.add("Concat", names, axis=-1)]
        elif layer.merge_mode is not None:
            names = [self.graph.add("Mul" if layer.merge_mode == "mul" else "Add", names)]
            if layer.merge_mode == "ave":
                names = [self.graph.add("Mul", [*names, self.graph.tensor("half", 0.5)])]
        return _Value(names, True, value.real, value.lengths) if sequences else _Value(names)

    def dense(self, layer: Dense, value: _Value) -> _Value:
        """Write a matrix product."""
        graph = self.graph
        y = graph.add("MatMul", [*value.names, graph.tensor(f"{layer.name}.kernel", layer.kernel.value)])
        if layer.bias is not None:
            y = graph.add("Add", [y, graph.tensor(f"{layer.name}.bias", layer.bias.value)])
        return self.activation(layer, _Value([y], value.steps_first, value.real, value.lengths))

    def activation(self, layer: Activation | Dense, value: _Value) -> _Value:
        """Write a layer's activation."""
        name = layer.activation.__name__
        if name == "linear":
            return value
        operator, given = _ACTIVATIONS[name]
        attributes: dict[str, Any] = {
            key: exact(number, self.dtype, f"activation={name!r}") for key, number in given.items()
        }
        if name == "softmax":
            attributes["axis"] = -1
        y = self.graph.add(operator, value.names, **attributes)
        return _Value([y], value.steps_first, value.real, value.lengths)

    def dropout(self, layer: Dropout, value: _Value) -> _Value:
        """Write nothing."""
        del layer
        return value

    def flatten(self, layer: Flatten, value: _Value) -> _Value:
        """Write a Flatten node."""
        del layer
        return _Value([self.graph.add("Flatten", [self.batch_first(value.names[0], value)], axis=1)])

    def masking(self, layer: Masking, value: _Value) -> _Value:
        """Write what counts the real steps, and clears the others."""
        if not self.right_padding:
            raise ValueError(
                "ONNX has only masks whose masked steps come last; say right_padding=True if that is so"
            )
        if self.initial_states:
            raise ValueError("initial_states: expected False together with Masking, got True")
        graph = self.graph
        x = self.steps_first(value)
        masked_value = graph.tensor(f"{layer.name}.mask_value", layer.mask_value)
        differs = graph.add("Cast", [graph.add("Not", [graph.add("Equal", [x, masked_value])])], to=6)
        counts = graph.add("ReduceMax", [differs], axes=[-1], keepdims=1)
        real = graph.add("Cast", [counts], to=9)
        lengths = graph.add("ReduceSum", [counts, graph.integers(0, 2)], keepdims=0)
        cleared = graph.add("Where", [real, x, graph.tensor("zero", 0.0)])
        return _Value([cleared], True, real, lengths)

    # Parts of layers.

    def batch_first(self, name: str, value: _Value) -> str:
        """Return a value as (B, T, ...)."""
        return str(self.graph.add("Transpose", [name], perm=[1, 0, 2])) if value.steps_first else name

    def steps_first(self, value: _Value) -> str:
        """Return a value as (T, B, ...)."""
        (name,) = value.names
        return name if value.steps_first else str(self.graph.add("Transpose", [name], perm=[1, 0, 2]))

    def _nodes(self, layers: list[LSTM], name: str, value: _Value) -> list[str]:
        """Write one LSTM node for one or two directions and return each layer's output.

        That is (B, H), or (T, B, H) with ``return_sequences``, with steps in the order of the input.
        """
        graph = self.graph
        # ONNX wants the direction that reads forwards first.
        order = sorted(range(len(layers)), key=lambda number: layers[number].go_backwards)
        ordered = [layers[number] for number in order]
        for layer in ordered:
            self._check(layer, value)
        x = self.steps_first(value)
        inputs = [x, *self._weights(ordered, name), value.lengths or "", *self._initial(ordered, x)]
        if any(layer.options is not None and layer.options.peepholes is not None for layer in layers):
            inputs += [""] * (7 - len(inputs))
            inputs.append(graph.tensor(f"{name}.P", np.stack([_peepholes(layer) for layer in ordered])))
        while not inputs[-1]:
            inputs.pop()
        single = len(layers) == 1
        sequences = layers[0].return_sequences
        fill = [sequences and _fills(layer, value) for layer in ordered]
        wanted = (sequences, not sequences or self.final_states or any(fill), self.final_states)
        parts = [
            f"{name}:{part}" if want else "" for part, want in zip(("Y", "Y_h", "Y_c"), wanted, strict=True)
        ]
        graph.add(
            "LSTM",
            inputs,
            outputs=parts,
            name=name,
            direction=("reverse" if layers[0].go_backwards else "forward") if single else "bidirectional",
            hidden_size=layers[0].units,
            **cell_attributes([layer.options for layer in ordered], self.dtype),
        )

        def own(part: int, place: int) -> str:
            axis = 1 if part == 0 else 0
            if single:
                return str(graph.add("Squeeze", [parts[part], graph.integers(axis)]))
            number = graph.tensor(f"direction {place}", place, np.int64)
            return str(graph.add("Gather", [parts[part], number], axis=axis))

        result = [""] * len(layers)
        for place, number in enumerate(order):
            layer = layers[number]
            last = own(1, place) if parts[1] else ""
            y = own(0, place) if sequences else last
            if fill[place] and value.real is not None:
                y = graph.add("Where", [value.real, y, last])
            result[number] = y
            if self.final_states:
                self.states[f"{layer.name}.final_h"] = (last, layer.units)
                self.states[f"{layer.name}.final_c"] = (own(2, place), layer.units)
        return result

    def _check(self, layer: LSTM, value: _Value) -> None:
        if layer.stateful and not self.initial_states:
            raise ValueError("stateful=True: expected initial_states=True, through which states come back")
        if layer.zero_output_for_mask and value.real is not None and not layer.return_sequences:
            raise ValueError("zero_output_for_mask=True: expected return_sequences=True after Masking")

    def _weights(self, layers: list[LSTM], name: str) -> list[str]:
        graph = self.graph
        kernels = [reordered(layer.kernel.value, TO_ONNX, 4).T for layer in layers]
        recurrent = [reordered(layer.recurrent_kernel.value, TO_ONNX, 4).T for layer in layers]
        names = [graph.tensor(f"{name}.W", np.stack(kernels)), graph.tensor(f"{name}.R", np.stack(recurrent))]
        if not any(layer.use_bias for layer in layers):
            return [*names, ""]
        return [*names, graph.tensor(f"{name}.B", np.stack([_bias(layer) for layer in layers]))]

    def _initial(self, layers: list[LSTM], x: str) -> list[str]:
        """Return the names of initial_h and initial_c (D, B, H)."""
        if not self.initial_states:
            return []
        graph = self.graph
        batch = graph.add("Shape", [x], start=1, end=2)
        result = []
        for which in ("h", "c"):
            states = []
            for layer in layers:
                # The default is one row of zeros for as many as there are.
                given = graph.input(
                    f"{layer.name}.initial_{which}",
                    (f"{layer.name}.rows", layer.units),
                    np.zeros((1, layer.units), self.dtype),
                )
                shape = graph.add("Concat", [graph.integers(1), batch, graph.integers(layer.units)], axis=0)
                states.append(graph.add("Expand", [given, shape]))
            result.append(states[0] if len(states) == 1 else graph.add("Concat", states, axis=0))
        return result


def _fills(layer: LSTM, value: _Value) -> bool:
    """Return whether a layer repeats its last hidden state after a row's last real step, as Keras does.

    ONNX has zeros there, and so has a layer that reads backwards: it meets these steps first.
    """
    return value.real is not None and not layer.zero_output_for_mask and not layer.go_backwards


def _bias(layer: LSTM) -> Array:
    bias: Array = np.zeros(4 * layer.units, layer.dtype) if layer.bias is None else layer.bias.value
    return np.concatenate([reordered(bias, TO_ONNX, 4), np.zeros_like(bias)])


def _peepholes(layer: LSTM) -> Array:
    given = None if layer.options is None else layer.options.peepholes
    if given is None:
        return np.zeros(3 * layer.units, layer.dtype)
    return reordered(given.reshape(-1), PEEPHOLES, 3)


_LAYERS: dict[type[Layer], Callable[[_Writer, Any, _Value], _Value]] = {
    LSTM: _Writer.lstm,
    Activation: _Writer.activation,
    Bidirectional: _Writer.bidirectional,
    Dense: _Writer.dense,
    Dropout: _Writer.dropout,
    Flatten: _Writer.flatten,
    Masking: _Writer.masking,
}
