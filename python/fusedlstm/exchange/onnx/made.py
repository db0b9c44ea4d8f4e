"""Layers, and their weights, of a graph's nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.activations import TABLE
from fusedlstm.layers import LSTM, Bidirectional, Dense, Embedding, LayerNormalization
from fusedlstm.ops.options import ACTIVATIONS, CellOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusedlstm.exchange.onnx.file import Array
    from fusedlstm.exchange.onnx.lstm import LSTMOperator
    from fusedlstm.exchange.onnx.values import Value
    from fusedlstm.layers import Layer

# Activations by operator.
_ACTIVATIONS = {row.onnx: name for name, row in TABLE.items() if row.onnx is not None}
_OVER_FEATURES = ("LogSoftmax", "Softmax")
# What to do instead of what no layer does.
_HINTS = {
    "Gelu": ", as activations have their derivative by their output: train with relu, elu or softplus",
    "Erf": ", as activations have their derivative by their output: train with relu, elu or softplus",
}


@dataclass(frozen=True)
class Made:
    """A call of a layer in the making, of an LSTM node, or an input.

    Attributes
    ----------
    node : LSTMOperator or None
    layer : Layer or None
    weights : tuple of array
        The layer's.
    names : tuple
        Names of the constants that the weights are, and what else was done to them.
    sources : tuple of int
        After how many calls what it is called on is there; none for an input.
    states : tuple of int
        The same of an LSTM node's initial states: h, then c of each direction.
    sequences : bool
        Whether its output has steps.
    view : Value or None
        Which output of an LSTM node it is.
    """

    node: LSTMOperator | None = None
    layer: Layer | None = None
    weights: tuple[Array, ...] = ()
    names: tuple[object, ...] = ()
    sources: tuple[int, ...] = ()
    states: tuple[int, ...] = ()
    sequences: bool = False
    view: Value | None = None


def elementwise(operator: str) -> bool:
    """Return whether a node does the same to each number, wherever it lies."""
    return operator == "Dropout" or (operator in _ACTIVATIONS and operator not in _OVER_FEATURES)


def activation(operator: str, attributes: dict[str, Any], rank: int, opset: int) -> str:
    """Return the name of the activation that a node over a tensor with `rank` axes is."""
    if operator in _OVER_FEATURES:
        axis = attributes.get("axis", -1 if opset >= 13 else 1)
        if axis not in (-1, rank - 1) or (opset < 13 and rank != 2 and axis != rank - 1):
            raise ValueError("expected a softmax over the features")
        return _ACTIVATIONS[operator]
    if operator not in _ACTIVATIONS:
        raise ValueError(f"there is no layer for the operator {operator!r} here{_HINTS.get(operator, '')}")
    name = _ACTIVATIONS[operator]
    row = TABLE[name]
    for key, number, default in zip(("alpha", "beta"), row.parameters, row.onnx_defaults, strict=False):
        given = attributes.get(key, default)
        if np.float32(given) != np.float32(number):
            raise ValueError(f"{key}: expected {number}, which {name} has here, got {given}")
    return name


def dense(kernel: Array, bias: Array | None) -> Made:
    """Make a matrix product."""
    if kernel.ndim != 2:
        raise ValueError(f"expected a matrix, got shape {kernel.shape}")
    units = kernel.shape[1]
    layer = Dense(units, use_bias=bias is not None, dtype=str(kernel.dtype))
    return Made(
        layer=layer, weights=(kernel,) if bias is None else (kernel, np.broadcast_to(bias, (1, units))[0])
    )


def biased(made: Made, bias: Array) -> Made | None:
    """Make a matrix product with this bias of one without any, None if it is not that."""
    layer = made.layer
    if not isinstance(layer, Dense) or layer.use_bias or bias.shape not in ((layer.units,), (1, layer.units)):
        return None
    return dense(made.weights[0], bias)


def embedding(table: Array) -> Made:
    """Make a table of vectors."""
    if table.ndim != 2 or table.dtype.kind != "f":
        raise ValueError(f"expected a table of vectors, got {table.dtype} of shape {table.shape}")
    return Made(layer=Embedding(*table.shape, dtype=str(table.dtype)), weights=(table,))


def normalization(scale: Array, shift: Array | None, epsilon: float) -> Made:
    """Make a normalization of the features."""
    if scale.ndim != 1 or (shift is not None and shift.shape != scale.shape):
        raise ValueError(f"expected a scale for each feature, got shape {scale.shape}")
    layer = LayerNormalization(epsilon=epsilon, center=shift is not None, dtype=str(scale.dtype))
    return Made(layer=layer, weights=(scale,) if shift is None else (scale, shift))


def columns(made: Made, indices: Sequence[int]) -> Made:
    """Make a matrix product with these of its columns; nothing reads the others, which would never change."""
    if not isinstance(made.layer, Dense):
        raise ValueError("expected all features of a layer that is no matrix product, got some")
    chosen = list(indices)
    return dense(made.weights[0][:, chosen], made.weights[1][chosen] if made.layer.use_bias else None)


def recurrent(node: LSTMOperator, value: Value) -> Made:
    """Make the layer of an LSTM node whose output `value` is."""
    order = [direction for _, direction in value.parts]
    if sorted(order) != list(range(len(node.backwards))):
        raise ValueError(f"expected the outputs of all directions in their order, merged; got {value}")
    if value.step is not None:
        raise ValueError(
            "expected all steps, or the last states, which is not the output at the first or last step of "
            "the direction that reads the other way"
        )
    if value.what == "c":
        raise ValueError("expected outputs, got cell states")
    sequences = value.what == "y"
    if len(order) == 2 and value.merge is not None and value.turned:
        order.reverse()
    # A layer that reads backwards returns its steps so, and a `Bidirectional` all of them in its first
    # layer's order.
    if value.turned != (sequences and node.backwards[order[0]]):
        raise ValueError("expected steps in the order in which the layer reads them")
    layer, weights = layer_of(node, order, value.merge or "concat", sequences)
    return Made(layer=layer, weights=weights)


def layer_of(
    node: LSTMOperator, order: Sequence[int], merge: str | None, sequences: bool, state: bool = False
) -> tuple[Layer, tuple[Array, ...]]:
    """Make a layer, and its weights, of the directions of an LSTM node in an order."""
    made = [
        LSTM(
            node.units,
            use_bias=node.use_bias,
            go_backwards=backwards,
            return_sequences=sequences,
            return_state=state,
            dtype=node.policy,
            **_arguments(options or CellOptions()),
        )
        for backwards, options in zip(node.backwards, node.options, strict=True)
    ]
    weights = node.keras_weights()
    if len(made) == 1:
        return made[0], weights
    half = len(weights) // 2
    weights = weights if order[0] == 0 else (*weights[half:], *weights[:half])
    return Bidirectional(made[order[0]], merge, backward_layer=made[order[1]]), weights


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
