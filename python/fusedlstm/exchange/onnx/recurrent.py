"""LSTM and Bidirectional layers as ONNX nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fusedlstm.exchange.onnx.cell import PEEPHOLES, TO_ONNX, cell_attributes, reordered
from fusedlstm.exchange.onnx.contrib import DOMAIN, INPUTS, OPERATOR
from fusedlstm.exchange.onnx.quantized import quantized_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusedlstm.base.types import Array
    from fusedlstm.exchange.onnx.graph import Graph
    from fusedlstm.layers import LSTM, Bidirectional

INT32, BOOL = 6, 9  # of onnx.TensorProto
_WEIGHTS = ("kernel", "recurrent_kernel", "bias", "peepholes")


@dataclass(frozen=True)
class Value:
    """What a layer leaves for others."""

    name: str
    steps_first: bool = False  # (T, B, ...) instead of (B, T, ...)
    real: str | None = None  # which steps are real, bool (T, B, 1)
    lengths: str | None = None  # how many, int32 (B)


class RecurrentWriter:
    """Writes recurrent layers.

    Parameters
    ----------
    graph : Graph
    initial_states, final_states : bool
        As for `to_onnx`.

    Attributes
    ----------
    states : dict of str to (str, int)
        The last states that are wanted as outputs: by the output's name, the value's and the units.
    """

    def __init__(self, graph: Graph, initial_states: bool, final_states: bool) -> None:
        self.graph = graph
        self.initial_states = initial_states
        self.final_states = final_states
        self.states: dict[str, tuple[str, int]] = {}
        self._names: set[str] = set()

    def lstm(self, layer: LSTM, value: Value, given: Sequence[str] = ()) -> list[Value]:
        """Write an LSTM node; initial states h and c may be given."""
        (output,), states = self._nodes([layer], layer.name, value, given)
        if not layer.return_sequences:
            return [Value(output), *states]
        output = self.graph.reversed_steps(output) if layer.go_backwards else output
        return [Value(output, True, value.real, value.lengths), *states]

    def bidirectional(self, layer: Bidirectional, value: Value, given: Sequence[str] = ()) -> list[Value]:
        """Write an LSTM node of two directions, and what merges them; four initial states may be given."""
        pair = [layer.forward_layer, layer.backward_layer]
        names, states = self._nodes(pair, layer.name, value, given)
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
        rest = (True, value.real, value.lengths) if sequences else ()
        return [*(Value(name, *rest) for name in names), *states]

    def batch_first(self, value: Value) -> str:
        """Return a value as (B, T, ...)."""
        turned = value.steps_first
        return str(self.graph.add("Transpose", [value.name], perm=[1, 0, 2])) if turned else value.name

    def steps_first(self, value: Value) -> str:
        """Return a value as (T, B, ...)."""
        there = value.steps_first
        return value.name if there else str(self.graph.add("Transpose", [value.name], perm=[1, 0, 2]))

    def _nodes(
        self, layers: list[LSTM], name: str, value: Value, given: Sequence[str]
    ) -> tuple[list[str], list[Value]]:
        """Write one LSTM node for one or two directions and return each layer's output, and their states.

        Outputs are (B, H), or (T, B, H) with ``return_sequences``, with steps in the order of the input. The
        states are those that layers return, if they do.
        """
        graph = self.graph
        # ONNX wants the direction that reads forwards first.
        order = sorted(range(len(layers)), key=lambda number: layers[number].go_backwards)
        ordered = [layers[number] for number in order]
        for layer in ordered:
            self._check(layer, value)
        x = self.steps_first(value)
        # h and c of each direction, where the graph has them.
        starts = [(given[2 * number], given[2 * number + 1]) if given else ("", "") for number in order]
        first = self._joined(starts) if given else self._initial(ordered, x)
        # Both layers of a Bidirectional have one policy.
        quantized = layers[0].dtype_policy.quantization_mode is not None
        weights = self._quantized(ordered, name) if quantized else self._weights(ordered, name)
        inputs = [x, *weights[:3], value.lengths or "", *first]
        if any(layer.options is not None and layer.options.peepholes is not None for layer in layers):
            inputs += [""] * (7 - len(inputs))
            inputs.append(graph.tensor(f"{name}.P", np.stack([_peepholes(layer) for layer in ordered])))
        inputs += [""] * (8 - len(inputs)) + weights[3:] if quantized else []
        while not inputs[-1]:
            inputs.pop()
        single = len(layers) == 1
        sequences = layers[0].return_sequences
        fill = [sequences and _fills(layer, value, bool(given)) for layer in ordered]
        # All that come before one that is wanted: evaluators differ in how they take outputs without a name.
        shown = self.final_states or layers[0].return_state
        count = 3 if shown else 2 if not sequences or any(fill) else 1
        name = graph.fresh(name)  # of this call of the layer
        parts = [f"{name}:{part}" for part in ("Y", "Y_h", "Y_c")[:count]]
        graph.add(
            OPERATOR if quantized else "LSTM",
            inputs,
            outputs=parts,
            name=name,
            domain=DOMAIN if quantized else None,
            direction=("reverse" if layers[0].go_backwards else "forward") if single else "bidirectional",
            hidden_size=layers[0].units,
            **cell_attributes([layer.options for layer in ordered], self.graph.dtype.name),
        )

        def own(part: int, place: int) -> str:
            axis = 1 if part == 0 else 0
            if single:
                return str(graph.add("Squeeze", [parts[part], graph.integers(axis)]))
            number = graph.tensor(f"direction {place}", place, np.int64)
            return str(graph.add("Gather", [parts[part], number], axis=axis))

        def end(part: int, place: int) -> str:
            """Return a last state; a sequence without real steps ends as it starts, in ONNX with zeros."""
            state, start = own(part, place), starts[place][part - 1]
            if not start or value.lengths is None:
                return state
            some = graph.add("Cast", [graph.add("Unsqueeze", [value.lengths, graph.integers(1)])], to=BOOL)
            return str(graph.add("Where", [some, state, start]))

        result, states = [""] * len(layers), [Value("")] * (2 * len(layers) if layers[0].return_state else 0)
        for place, number in enumerate(order):
            layer = layers[number]
            last = end(1, place) if count > 1 else ""
            y = own(0, place) if sequences else last
            if fill[place] and value.real is not None:
                y = graph.add("Where", [value.real, y, starts[place][0] if layer.go_backwards else last])
            result[number] = y
            cell = end(2, place) if shown else ""
            if self.final_states:
                self.states[f"{layer.name}.final_h"] = (last, layer.units)
                self.states[f"{layer.name}.final_c"] = (cell, layer.units)
            if states:
                states[2 * number : 2 * number + 2] = [Value(last), Value(cell)]
        return result, states

    def _joined(self, starts: Sequence[tuple[str, str]]) -> list[str]:
        """Return initial_h and initial_c (D, B, H) of states (B, H) of each direction."""
        graph, found = self.graph, []
        for part in zip(*starts, strict=True):
            rows = [graph.add("Unsqueeze", [name, graph.integers(0)]) for name in part]
            found.append(rows[0] if len(rows) == 1 else graph.add("Concat", rows, axis=0))
        return found

    def _check(self, layer: LSTM, value: Value) -> None:
        for variable in layer.weights:
            if variable.name not in _WEIGHTS:
                raise ValueError(f"{variable.name}: ONNX's LSTM has no such weights")
        if layer.stateful and not self.initial_states:
            raise ValueError("stateful=True: expected initial_states=True, through which states come back")
        if layer.zero_output_for_mask and value.real is not None and not layer.return_sequences:
            raise ValueError("zero_output_for_mask=True: expected return_sequences=True after Masking")
        if layer.name in self._names and (self.initial_states or self.final_states):
            raise ValueError(
                f"expected LSTM layers of different names for their states, got {layer.name!r} twice"
            )
        self._names.add(layer.name)

    def _weights(self, layers: list[LSTM], name: str) -> list[str]:
        graph = self.graph
        kernels = [reordered(layer.kernel.numpy(), TO_ONNX, 4).T for layer in layers]
        recurrent = [reordered(layer.recurrent_kernel.numpy(), TO_ONNX, 4).T for layer in layers]
        names = [graph.tensor(f"{name}.W", np.stack(kernels)), graph.tensor(f"{name}.R", np.stack(recurrent))]
        return [*names, self._bias(layers, name)]

    def _quantized(self, layers: list[LSTM], name: str) -> list[str]:
        """Return the names of W, R and B, then of scales and zero points."""
        arrays = quantized_weights(layers)
        names = {key: self.graph.tensor(f"{name}.{key}", a, a.dtype) for key, a in arrays.items()}
        return [names["W"], names["R"], self._bias(layers, name), *(names[key] for key in INPUTS[8:])]

    def _bias(self, layers: list[LSTM], name: str) -> str:
        """Return the name of B, empty if no layer has a bias."""
        if not any(layer.use_bias for layer in layers):
            return ""
        return self.graph.tensor(f"{name}.B", np.stack([_bias(layer) for layer in layers]))

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
                    np.zeros((1, layer.units), self.graph.dtype.name),
                )
                shape = graph.add("Concat", [graph.integers(1), batch, graph.integers(layer.units)], axis=0)
                states.append(graph.add("Expand", [given, shape]))
            result.append(states[0] if len(states) == 1 else graph.add("Concat", states, axis=0))
        return result


def _fills(layer: LSTM, value: Value, starts: bool) -> bool:
    """Return whether a layer repeats a hidden state after a row's last real step, as Keras does.

    ONNX has zeros there, and so has a layer that reads backwards from zeros: it meets these steps first.
    """
    return value.real is not None and not layer.zero_output_for_mask and (starts or not layer.go_backwards)


def _bias(layer: LSTM) -> Array:
    bias: Array = np.zeros(4 * layer.units, layer.dtype) if layer.bias is None else layer.bias.numpy()
    return np.concatenate([reordered(bias, TO_ONNX, 4), np.zeros_like(bias)])


def _peepholes(layer: LSTM) -> Array:
    given = None if layer.options is None else layer.options.peepholes
    if given is None:
        return np.zeros(3 * layer.units, layer.dtype)
    return reordered(given.reshape(-1), PEEPHOLES, 3)
