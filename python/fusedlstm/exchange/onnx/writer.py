"""Sequential models as ONNX graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import layers
from fusedlstm.base.versions import of_one_version
from fusedlstm.exchange.onnx.graph import Graph
from fusedlstm.exchange.onnx.layer_writer import LayerWriter
from fusedlstm.exchange.onnx.recurrent import Value
from fusedlstm.io.atomic import check_target, write_file
from fusedlstm.io.endings import ONNX, check_ending
from fusedlstm.layers.stacked import unstacked
from fusedlstm.models.sequential import Sequential

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from fusedlstm.base.types import Shape
    from fusedlstm.layers import Layer
    from fusedlstm.models.model import Model


@of_one_version
def to_onnx(
    model: Model,
    path: str | os.PathLike[str],
    *,
    initial_states: bool = False,
    final_states: bool = False,
    right_padding: bool = False,
) -> None:
    """Write a model as an ONNX graph, for inference.

    The graph has the input ``input`` and the output ``output`` (``output_0`` and ``output_1`` after a last
    layer with ``merge_mode=None``), with any number of batch rows and, where the model says so, of steps. It
    uses version 17 of the standard operators. Models of float64 make graphs of float64, which `from_onnx`
    runs; ONNX Runtime has no LSTM for them.

    Parameters
    ----------
    model : Sequential
        A built model of this package's layers; a `TimeDistributed` has one of those that do the same at each
        step: Activation, Dense, LayerNormalization and those that only training knows. After an `Embedding`
        as the first layer, the input is int64, and what an id out of range gives is the runtime's affair.
    path : path-like
        File to write, ending in ``.onnx``; it appears only when complete.
    initial_states : bool
        Give each LSTM two more inputs, ``<layer>.initial_h`` and ``<layer>.initial_c`` (B, H), which are
        zeros where they are left out. Needed for ``stateful`` layers.
    final_states : bool
        Give each LSTM two more outputs, ``<layer>.final_h`` and ``<layer>.final_c`` (B, H).
    right_padding : bool
        Needed for `Masking`, and for ``mask_zero`` of `Embedding`: ONNX knows masks by their number of real
        steps only, so say that masked steps will always come after all others.

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
    if not isinstance(model, Sequential):
        raise ValueError(f"model: expected a Sequential one, got a graph, {model!r}")
    check_target(path)
    graph = Graph(model.dtype)
    writer = LayerWriter(graph, initial_states, final_states, right_padding)
    shape = model.input_shape
    of_ids = model.layers[0].ids is not None
    named = _named((*shape, None))[:-1] if of_ids else _named(shape)
    value = Value([graph.input("input", named, dtype=np.int64 if of_ids else None)])
    for layer in unstacked(model.layers):
        if _LAYERS.get(type(layer)) is None:
            known = [cls.__name__ for cls in _LAYERS]
            raise ValueError(f"{layer.name}: expected layers of the classes {known}, got {layer!r}")
        if len(value.names) != 1:
            raise ValueError(f"{layer.name}: expected one input, got two of a layer with merge_mode=None")
        writer.shape = shape
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


_LAYERS: dict[type[Layer], Callable[[LayerWriter, Any, Value], Value]] = {
    layers.LSTM: LayerWriter.lstm,
    layers.Activation: LayerWriter.activation,
    layers.Bidirectional: LayerWriter.bidirectional,
    layers.Dense: LayerWriter.dense,
    layers.Dropout: LayerWriter.nothing,
    layers.Embedding: LayerWriter.embedding,
    layers.Flatten: LayerWriter.flatten,
    layers.GaussianNoise: LayerWriter.nothing,
    layers.GlobalAveragePooling1D: LayerWriter.average,
    layers.GlobalMaxPooling1D: LayerWriter.maximum,
    layers.LayerNormalization: LayerWriter.layer_normalization,
    layers.Masking: LayerWriter.masking,
    layers.Permute: LayerWriter.permute,
    layers.RepeatVector: LayerWriter.repeat,
    layers.Reshape: LayerWriter.reshape,
    layers.SpatialDropout1D: LayerWriter.nothing,
    layers.TimeDistributed: LayerWriter.time_distributed,
}
