"""DynamicQuantizeLSTM in a file: ONNX Runtime's operator, which onnx's checker does not know."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DOMAIN, OPERATOR = "com.microsoft", "DynamicQuantizeLSTM"
VERSION = 1
# The operator's inputs, in their order.
INPUTS = (
    *("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"),
    *("W_scale", "W_zero_point", "R_scale", "R_zero_point"),
)
# Element types of its weights by their numbers in ONNX. Nothing else of a graph is of these.
BYTES: dict[int, np.dtype[Any]] = {2: np.dtype(np.uint8), 3: np.dtype(np.int8)}
_OF_BYTES = {INPUTS.index(name) for name in ("W", "R", "W_zero_point", "R_zero_point")}
_REQUIRED = {0, 1, 2, 8, 9, 10, 11}
# Those of LSTM, but for `layout`.
_ATTRIBUTES = {
    *("activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size"),
    "input_forget",
}


def is_quantized(node: Any) -> bool:
    """Return whether a node is of this operator."""
    return bool(node.op_type == OPERATOR and node.domain == DOMAIN)


def check_quantized(model: Any, graphs: Sequence[Any]) -> None:
    """Check nodes of this operator as far as onnx's checker would if it knew it.

    Parameters
    ----------
    model : onnx.ModelProto
    graphs : sequence of onnx.GraphProto
        All of the model.

    Raises
    ------
    ValueError
        If a node's inputs or attributes are others than the operator's, or anything else reads tensors of
        8 bits.
    """
    versions = [entry.version for entry in model.opset_import if entry.domain == DOMAIN]
    for number, node in ((number, node) for graph in graphs for number, node in enumerate(graph.node)):
        if is_quantized(node):
            label = f"node {number} {node.name!r:.80} ({OPERATOR})"
            _check_node(node, label)
            if versions != [VERSION]:
                raise ValueError(f"{label}: opset_import: expected {DOMAIN!r} in version 1, got {versions}")
    tensors = [one for graph in graphs for one in graph.initializer if one.data_type in BYTES]
    others = _read_by_others(graphs) if tensors else set()
    for tensor in tensors:
        if tensor.name in others:
            raise ValueError(
                f"tensor {tensor.name!r:.80}: expected {BYTES[tensor.data_type]} as weights of {OPERATOR} "
                "alone, got something else that reads it"
            )


def _read_by_others(graphs: Sequence[Any]) -> set[str]:
    """Return the names of all that is an output, or read by anything but as weights of 8 bits."""
    names = {info.name for graph in graphs for info in graph.output}
    for node in (node for graph in graphs for node in graph.node):
        places = _OF_BYTES if is_quantized(node) else ()
        names.update(name for place, name in enumerate(node.input) if place not in places)
    return names


def _check_node(node: Any, label: str) -> None:
    if len(node.input) != len(INPUTS):
        raise ValueError(
            f"{label}: expected {len(INPUTS)} inputs, from X to R_zero_point, got {len(node.input)}"
        )
    for place in _REQUIRED:
        if not node.input[place]:
            raise ValueError(f"{label}: {INPUTS[place]}: expected an input, got none")
    for attribute in node.attribute:
        if attribute.name not in _ATTRIBUTES:
            raise ValueError(
                f"{label}: expected attributes among {sorted(_ATTRIBUTES)}, got {attribute.name!r:.80}"
            )


@contextmanager
def stand_ins(graphs: Sequence[Any]) -> Iterator[None]:
    """Make nodes of this operator LSTM nodes of the same attributes, while onnx's checker looks at them.

    The checker asks for less after any operator that it does not know. It takes from W and R their type
    alone, so that X stands for both.
    """
    kept = [(node, list(node.input)) for graph in graphs for node in graph.node if is_quantized(node)]
    for node, inputs in kept:
        node.op_type, node.domain = "LSTM", ""
        node.input[:] = [inputs[0], inputs[0], inputs[0], *inputs[3:8]]
    try:
        yield
    finally:
        for node, inputs in kept:
            node.op_type, node.domain = OPERATOR, DOMAIN
            node.input[:] = inputs
