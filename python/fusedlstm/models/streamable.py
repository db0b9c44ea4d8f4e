"""Which graphs can take their sequences a step at a time: checks before a `Stream` is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm.layers.core import Activation, Dropout, Masking
from fusedlstm.layers.dense import Dense
from fusedlstm.layers.embedding import Embedding
from fusedlstm.layers.lstm import LSTM
from fusedlstm.layers.merging import Concatenate, Dot, Merge
from fusedlstm.layers.noise import GaussianNoise
from fusedlstm.layers.normalization import LayerNormalization
from fusedlstm.layers.stacked import unstacked
from fusedlstm.layers.time_distributed import TimeDistributed
from fusedlstm.models.graph import masks_among

if TYPE_CHECKING:
    from fusedlstm.base.types import Shape
    from fusedlstm.layers.base import Layer
    from fusedlstm.models.batching import BatchTrainer

# Layers whose output at a step depends on that step alone. SpatialDropout1D is a Dropout.
_POINTWISE = (Activation, Dense, Dropout, Embedding, GaussianNoise, LayerNormalization, Masking)


def inside(layer: Layer) -> Layer:
    """Return what runs at one step."""
    return inside(layer.layer) if isinstance(layer, TimeDistributed) else layer


def inputs_with_steps(model: BatchTrainer) -> list[bool]:
    """Tell which inputs have steps: those of LSTMs, ids of sequences, and masks. Others stay as they are."""
    plan = model.plan
    masks = masks_among(plan)
    assert model.input_shapes is not None
    return [
        len(shape) > 2 or (len(shape) == 2 and (ids is not None or number in masks))
        for number, (shape, ids) in enumerate(zip(model.input_shapes, plan.ids, strict=True))
    ]


def check_streamable(model: BatchTrainer) -> None:
    """Refuse layers whose output at a step depends on later ones, or on all.

    Raises
    ------
    ValueError
        If there is one; the message has its name.
    """
    plan = model.plan
    shapes: list[Any] = [None] * plan.size
    stepped = [False] * plan.size
    assert model.input_shapes is not None
    for place, shape, has_steps in zip(
        plan.inputs, model.input_shapes, inputs_with_steps(model), strict=True
    ):
        shapes[place], stepped[place] = shape, has_steps
    for step in plan.steps:
        layer = step.layer
        given, steps = [shapes[place] for place in step.sources], [stepped[place] for place in step.sources]
        if step.training:
            raise ValueError(f"model: expected no call with training=True in a stream, got {layer.name}")
        if step.states:
            raise ValueError(
                f"model: expected LSTMs that start from zeros in a stream, {layer.name} has an initial state"
            )
        if isinstance(layer, Merge):
            _check_merge(layer, given, steps)
        else:
            _check_single(layer)
        sequences = getattr(layer, "return_sequences", True) and steps[0]
        found = layer.output_shapes(given if step.source < 0 else given[0])
        for number, (place, shape) in enumerate(zip(step.targets, found, strict=True)):
            shapes[place] = shape
            # States have no steps.
            stepped[place] = sequences and number == 0


def _check_single(layer: Layer) -> None:
    for part in unstacked([layer]):
        if isinstance(part, LSTM):
            if part.go_backwards:
                raise ValueError(f"model: expected LSTMs that read forwards, {part.name} reads backwards")
        elif not isinstance(inside(part), _POINTWISE):
            kinds = ", ".join(kind.__name__ for kind in (LSTM, *_POINTWISE))
            kind = type(part).__name__
            raise ValueError(f"model: expected layers of {kinds} or merges, got {part.name}, a {kind}")


def _check_merge(layer: Merge, shapes: list[Shape], steps: list[bool]) -> None:
    """Refuse a merge of what has steps with what is known at the end only, or along the steps."""
    name = layer.name
    if True not in steps:
        return
    if False in steps:
        raise ValueError(
            f"model: expected {name} to merge either sequences or their last values in a stream, got both"
        )
    ranks = {len(shape) for shape in shapes}
    lengths = {shape[1] for shape in shapes}
    along = isinstance(layer, Concatenate) and layer.axis % len(shapes[0]) != len(shapes[0]) - 1
    if isinstance(layer, Dot) or along or len(ranks) > 1 or (1 in lengths and len(lengths) > 1):
        raise ValueError(f"model: expected {name} to merge sequences step by step in a stream, got {shapes}")
