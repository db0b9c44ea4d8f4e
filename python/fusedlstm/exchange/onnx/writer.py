"""Models as ONNX graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import layers
from fusedlstm.base.names import different
from fusedlstm.base.versions import of_one_version
from fusedlstm.exchange.onnx.graph import Graph
from fusedlstm.exchange.onnx.layer_writer import LayerWriter
from fusedlstm.exchange.onnx.merge_writer import MERGES, MergeWriter
from fusedlstm.exchange.onnx.recurrent import Value
from fusedlstm.io.atomic import check_target, write_file
from fusedlstm.io.endings import ONNX, check_ending
from fusedlstm.layers.merging import Merge
from fusedlstm.layers.recurrent import Recurrent
from fusedlstm.layers.stacked import unstacked
from fusedlstm.models.graph import masks_among
from fusedlstm.models.sequential import Sequential

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from fusedlstm.base.types import Shape
    from fusedlstm.layers import Layer
    from fusedlstm.models.graph import Step
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

    A `Sequential` has the input ``input`` and the output ``output`` (``output_0`` and ``output_1`` after a
    last layer with ``merge_mode=None``); those of another `Model` have the names of its inputs and outputs,
    with a number behind one that occurs again. There may be any number of batch rows and, where the model
    says so, of steps; the weights of a layer that is called twice are there once. The graph uses version 17
    of the standard operators. Models of float64 make graphs of float64, which `from_onnx` runs; ONNX Runtime
    has no LSTM for them. LSTMs that are quantized (`Layer.quantize`) become its operator DynamicQuantizeLSTM
    of the domain com.microsoft, with int8 weights for each column.

    Parameters
    ----------
    model : Model
        A built model of this package's layers; a `TimeDistributed` has one of those that do the same at each
        step: Activation, Dense, LayerNormalization and those that only training knows. Inputs of an
        `Embedding` are int64, and what an id out of range gives is the runtime's affair; inputs that are
        masks are bool.
    path : path-like
        File to write, ending in ``.onnx``; it appears only when complete.
    initial_states : bool
        Give each LSTM that starts from zeros two more inputs, ``<layer>.initial_h`` and ``<layer>.initial_c``
        (B, H), which are zeros where they are left out. Needed for ``stateful`` layers.
    final_states : bool
        Give each LSTM two more outputs, ``<layer>.final_h`` and ``<layer>.final_c`` (B, H).
    right_padding : bool
        Needed for `Masking`, for ``mask_zero`` of `Embedding` and for inputs that are masks: ONNX knows masks
        by their number of real steps only, so say that masked steps will always come after all others.

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
    if not model.built or model.input_shapes is None:
        raise ValueError("model: expected a built model, got one whose weights are not made yet")
    check_target(path)
    write_file(path, [_written(model, initial_states, final_states, right_padding)])


def _written(model: Model, initial_states: bool, final_states: bool, right_padding: bool) -> bytes:
    """Return the content of the file."""
    plan = model.plan
    stack = isinstance(model, Sequential)
    count = len(plan.outputs)
    inputs = ["input"] if stack else list(model.input_structure.names)
    outputs = ["output"] if stack else list(model.output_structure.names)
    if stack and count > 1:
        outputs = [f"output_{number}" for number in range(count)]
    outputs = different([*inputs, *outputs])[len(inputs) :]
    graph = Graph(model.dtype, [*inputs, *outputs])
    writer = MergeWriter(graph, initial_states, final_states, right_padding)
    assert model.input_shapes is not None
    masks = masks_among(plan)
    shapes: list[Any] = [None] * plan.size
    values: list[Any] = [None] * plan.size
    for number, (name, shape, ids) in enumerate(zip(inputs, model.input_shapes, plan.ids, strict=True)):
        kind: Any = None if ids is None else np.int64
        steps = ids is not None
        if ids is None and number in masks:
            kind, steps = np.bool_, True
        owner = f"{name}." if len(inputs) > 1 else ""
        named = _named((*shape, None), owner)[:-1] if steps else _named(shape, owner)
        place = plan.inputs[number]
        values[place], shapes[place] = Value(graph.input(name, named, dtype=kind)), shape
    for step in plan.steps:
        given = [shapes[place] for place in step.sources]
        try:
            found = _step(writer, step, values, given)
        except ValueError as error:
            raise ValueError(f"{step.layer.name}: {error}") from error
        sizes = step.layer.output_shapes(given if step.source < 0 else given[0])
        for place, value, size in zip(step.targets, found, sizes, strict=True):
            values[place], shapes[place] = value, size
    for place, name in zip(plan.outputs, outputs, strict=True):
        graph.output(
            writer.batch_first(values[place]),
            name,
            _named(shapes[place], f"{name}." if len(inputs) > 1 else ""),
        )
    for name, (state, units) in writer.states.items():
        graph.output(state, name, ("batch", units))
    return graph.serialized(model.name)


def _step(writer: MergeWriter, step: Step, values: list[Value], shapes: list[Shape]) -> list[Value]:
    """Write a call of a layer, and return its outputs."""
    layer = step.layer
    if step.training:
        raise ValueError("training: expected calls as in inference, got one with training=True")
    given = [values[place] for place in step.sources]
    if isinstance(layer, Merge) and type(layer) in MERGES:
        return [writer.merge(layer, given, shapes)]
    value, shape = given[0], shapes[0]
    if step.mask >= 0:
        value = writer.given_mask(value, values[step.mask])
    states = [values[place].name for place in step.states]
    ends: list[Value] = []
    for part in unstacked([layer]):
        write = _LAYERS.get(type(part))
        if write is None:
            known = [cls.__name__ for cls in (*_LAYERS, *MERGES)]
            raise ValueError(f"expected layers of the classes {known}, got {part!r}")
        writer.shape = shape
        if isinstance(part, Recurrent):
            count = len(part.state_sizes)
            own, states = states[:count], states[count:]
            value, *more = write(writer, part, value, own)
            ends += more
        else:
            value = write(writer, part, value)
        shape = part.output_shapes(shape)[0]
    return [value, *ends]


def _named(shape: Shape, owner: str = "") -> tuple[int | str | None, ...]:
    """Return a shape with the batch axis and any number of steps by name, which may be an owner's steps."""
    usual = ("batch", f"{owner}steps") if len(shape) == 3 else ("batch",)
    names = (*usual, *[None] * len(shape))
    return tuple(name if size is None else size for size, name in zip(shape, names, strict=False))


_LAYERS: dict[type[Layer], Callable[..., Any]] = {
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
