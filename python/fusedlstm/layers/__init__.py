"""Layers with Keras's names, defaults and weight layouts."""

from __future__ import annotations

from typing import Any

from fusedlstm.base import checks
from fusedlstm.base.gradients import Gradients
from fusedlstm.base.registry import Registry, serialize
from fusedlstm.layers.activated import ActivatedLayer
from fusedlstm.layers.base import Layer
from fusedlstm.layers.bidirectional import Bidirectional
from fusedlstm.layers.core import Activation, Dropout, Input, InputLayer, Masking
from fusedlstm.layers.dense import Dense
from fusedlstm.layers.embedding import Embedding
from fusedlstm.layers.lstm import LSTM
from fusedlstm.layers.merging import (
    Add,
    Average,
    Concatenate,
    Dot,
    Maximum,
    Merge,
    Minimum,
    Multiply,
    Subtract,
    add,
    average,
    concatenate,
    dot,
    maximum,
    minimum,
    multiply,
    subtract,
)
from fusedlstm.layers.noise import GaussianNoise, SpatialDropout1D
from fusedlstm.layers.normalization import LayerNormalization
from fusedlstm.layers.pooling import GlobalAveragePooling1D, GlobalMaxPooling1D
from fusedlstm.layers.reshaping import Flatten, Permute, RepeatVector, Reshape
from fusedlstm.layers.stacked import StackedLSTM
from fusedlstm.layers.time_distributed import TimeDistributed

__all__ = [
    "LSTM",
    "ActivatedLayer",
    "Activation",
    "Add",
    "Average",
    "Bidirectional",
    "Concatenate",
    "Dense",
    "Dot",
    "Dropout",
    "Embedding",
    "Flatten",
    "GaussianNoise",
    "GlobalAveragePooling1D",
    "GlobalAvgPool1D",
    "GlobalMaxPool1D",
    "GlobalMaxPooling1D",
    "Gradients",
    "Input",
    "InputLayer",
    "Layer",
    "LayerNormalization",
    "Masking",
    "Maximum",
    "Merge",
    "Minimum",
    "Multiply",
    "Permute",
    "RepeatVector",
    "Reshape",
    "SpatialDropout1D",
    "StackedLSTM",
    "Subtract",
    "TimeDistributed",
    "add",
    "average",
    "concatenate",
    "deserialize",
    "dot",
    "maximum",
    "minimum",
    "multiply",
    "serialize",
    "subtract",
]

# Keras's shorter names.
GlobalAvgPool1D, GlobalMaxPool1D = GlobalAveragePooling1D, GlobalMaxPooling1D

# All that a model is saved with.
REGISTRY = Registry(
    Layer,
    {},
    others=(
        LSTM,
        Activation,
        Add,
        Average,
        Bidirectional,
        Concatenate,
        Dense,
        Dot,
        Dropout,
        Embedding,
        Flatten,
        GaussianNoise,
        GlobalAveragePooling1D,
        GlobalMaxPooling1D,
        LayerNormalization,
        Masking,
        Maximum,
        Minimum,
        Multiply,
        Permute,
        RepeatVector,
        Reshape,
        SpatialDropout1D,
        StackedLSTM,
        Subtract,
        TimeDistributed,
    ),
)
CLASSES = REGISTRY.classes
# Classes of models, which are layers too and enter themselves here.
MODELS: dict[str, type[Layer]] = {}


def deserialize(description: dict[str, Any]) -> Layer:
    """Make a layer from `serialize`'s result.

    Raises
    ------
    ValueError
        If it is no such description, or the class or an argument is unknown or out of range.
    """
    name = checks.member(description, "class_name", str, "layer")
    config = checks.member(description, "config", dict, name)
    if name in MODELS:
        return MODELS[name].from_config(config)
    try:
        return REGISTRY.restore(description, "class_name")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{config.get('name', 'layer')!r:.80} ({name:.80}): {error}") from error


def __getattr__(name: str) -> Any:
    """Say what there is, for a layer that is not."""
    if name[:1].isupper():
        raise AttributeError(
            f"fusedlstm.layers has no {name}: it has recurrent layers and what stands around them, "
            f"{[*CLASSES]}; convolutions, attention and other cells are Keras's"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
