"""Sequential models as ONNX graphs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fusedlstm.exchange.onnx.cell import exact
from fusedlstm.exchange.onnx.graph import Graph
from fusedlstm.exchange.onnx.recurrent import RecurrentWriter, Value
from fusedlstm.io.atomic import check_target, write_file
from fusedlstm.io.endings import ONNX, check_ending
from fusedlstm.layers import LSTM, Activation, Bidirectional, Dense, Dropout, Flatten, Masking
from fusedlstm.layers.stacked import unstacked
from fusedlstm.versions import of_one_version

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from fusedlstm.layers import Layer
    from fusedlstm.model import Sequential
    from fusedlstm.variable import Shape

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
    "log_softmax": ("LogSoftmax", {}),
}


@of_one_version
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
        A built model of LSTM, Bidirectional, StackedLSTM, Dense, Activation, Dropout, Flatten and Masking
        layers.
    path : path-like
        File to write, ending in ``.onnx``; it appears only when complete.
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
    check_ending(path, ONNX)
    if not model.built or model.input_shape is None:
        raise ValueError("model: expected a built model, got one whose weights are not made yet")
    check_target(path)
    graph = Graph(model.dtype)
    writer = _Writer(graph, initial_states, final_states, right_padding)
    shape = model.input_shape
    value = Value([graph.input("input", _named(shape))])
    for layer in unstacked(model.layers):
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


class _Writer(RecurrentWriter):
    def __init__(self, graph: Graph, initial_states: bool, final_states: bool, right_padding: bool) -> None:
        super().__init__(graph, initial_states, final_states)
        self.right_padding = right_padding

    def dense(self, layer: Dense, value: Value) -> Value:
        """Write a matrix product."""
        graph = self.graph
        y = graph.add("MatMul", [*value.names, graph.tensor(f"{layer.name}.kernel", layer.kernel.numpy())])
        if layer.bias is not None:
            y = graph.add("Add", [y, graph.tensor(f"{layer.name}.bias", layer.bias.numpy())])
        return self.activation(layer, Value([y], value.steps_first, value.real, value.lengths))

    def activation(self, layer: Activation | Dense, value: Value) -> Value:
        """Write a layer's activation."""
        name = layer.activation.__name__
        if name == "linear":
            return value
        operator, given = _ACTIVATIONS[name]
        attributes: dict[str, Any] = {
            key: exact(number, self.graph.dtype.name, f"activation={name!r}") for key, number in given.items()
        }
        if operator in ("LogSoftmax", "Softmax"):
            attributes["axis"] = -1
        y = self.graph.add(operator, value.names, **attributes)
        return Value([y], value.steps_first, value.real, value.lengths)

    def dropout(self, layer: Dropout, value: Value) -> Value:
        """Write nothing."""
        del layer
        return value

    def flatten(self, layer: Flatten, value: Value) -> Value:
        """Write a Flatten node."""
        del layer
        return Value([self.graph.add("Flatten", [self.batch_first(value.names[0], value)], axis=1)])

    def masking(self, layer: Masking, value: Value) -> Value:
        """Write what counts the real steps, and clears the others."""
        if not self.right_padding:
            raise ValueError(
                "ONNX has only masks whose masked steps come last; say right_padding=True if that is so"
            )
        if self.initial_states:
            raise ValueError("initial_states: expected False together with Masking, got True")
        graph = self.graph
        x = self.steps_first(value)
        if math.isnan(layer.mask_value):
            kept = graph.add("Equal", [x, x])  # NaN alone differs from itself.
        else:
            masked_value = graph.tensor(f"{layer.name}.mask_value", layer.mask_value)
            kept = graph.add("Not", [graph.add("Equal", [x, masked_value])])
        differs = graph.add("Cast", [kept], to=6)
        counts = graph.add("ReduceMax", [differs], axes=[-1], keepdims=1)
        real = graph.add("Cast", [counts], to=9)
        lengths = graph.add("ReduceSum", [counts, graph.integers(0, 2)], keepdims=0)
        cleared = graph.add("Where", [real, x, graph.tensor("zero", 0.0)])
        return Value([cleared], True, real, lengths)


_LAYERS: dict[type[Layer], Callable[[_Writer, Any, Value], Value]] = {
    LSTM: _Writer.lstm,
    Activation: _Writer.activation,
    Bidirectional: _Writer.bidirectional,
    Dense: _Writer.dense,
    Dropout: _Writer.dropout,
    Flatten: _Writer.flatten,
    Masking: _Writer.masking,
}
