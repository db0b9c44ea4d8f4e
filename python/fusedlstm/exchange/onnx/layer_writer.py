"""Layers as ONNX nodes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.activations import TABLE
from fusedlstm.exchange.onnx.cell import exact
from fusedlstm.exchange.onnx.recurrent import BOOL, INT32, RecurrentWriter, Value
from fusedlstm.layers import Activation, Dense, Dropout, GaussianNoise, LayerNormalization, SpatialDropout1D

if TYPE_CHECKING:
    from fusedlstm.base.types import Shape
    from fusedlstm.exchange.onnx.graph import Graph
    from fusedlstm.layers import (
        Embedding,
        Flatten,
        GlobalAveragePooling1D,
        GlobalMaxPooling1D,
        Layer,
        Masking,
        Permute,
        RepeatVector,
        Reshape,
        TimeDistributed,
    )


class LayerWriter(RecurrentWriter):
    """Writes layers, each by a method that takes it and its input and returns its output.

    Parameters
    ----------
    graph : Graph
    initial_states, final_states, right_padding : bool
        As for `to_onnx`.

    Attributes
    ----------
    shape : tuple
        That of the input of the layer that is being written, None for what is not known.
    """

    def __init__(self, graph: Graph, initial_states: bool, final_states: bool, right_padding: bool) -> None:
        super().__init__(graph, initial_states, final_states)
        self.right_padding = right_padding
        self.shape: Shape = ()

    def dense(self, layer: Dense, value: Value) -> Value:
        """Write a matrix product."""
        graph = self.graph
        y = graph.add("MatMul", [value.name, graph.tensor(f"{layer.name}.kernel", layer.kernel.numpy())])
        if layer.bias is not None:
            y = graph.add("Add", [y, graph.tensor(f"{layer.name}.bias", layer.bias.numpy())])
        return self.activation(layer, Value(y, value.steps_first, value.real, value.lengths))

    def activation(self, layer: Activation | Dense, value: Value) -> Value:
        """Write a layer's activation."""
        name = layer.activation.__name__
        if name == "linear":
            return value
        row = TABLE[name]
        attributes: dict[str, Any] = {}
        parameters = row.parameters[: len(row.onnx_defaults)]
        if parameters != row.onnx_defaults:
            for key, number in zip(("alpha", "beta"), parameters, strict=False):
                attributes[key] = exact(number, self.graph.dtype.name, f"activation={name!r}")
        if name in ("log_softmax", "softmax"):
            attributes["axis"] = -1
        y = self.graph.add(str(row.onnx), [value.name], **attributes)
        return Value(y, value.steps_first, value.real, value.lengths)

    def nothing(self, _layer: Layer, value: Value) -> Value:
        """Write nothing, for a layer that only training knows."""
        return value

    def embedding(self, layer: Embedding, value: Value) -> Value:
        """Write what takes rows of the table, and what counts the steps that are not 0."""
        graph = self.graph
        table = graph.tensor(f"{layer.name}.embeddings", layer.embeddings.numpy())
        vectors = graph.add("Gather", [table, value.name])
        if not layer.mask_zero:
            return Value(vectors)
        self._check_mask("mask_zero=True: ")
        if len(self.shape) != 2:
            raise ValueError(f"mask_zero=True: expected ids (B, T), got {len(self.shape)} axes")
        steps = graph.add("Transpose", [value.name], perm=[1, 0])
        zero = graph.tensor("integer zero", 0, np.int64)
        kept = graph.add("Not", [graph.add("Equal", [steps, zero])])
        counts = graph.add("Unsqueeze", [graph.add("Cast", [kept], to=INT32), graph.integers(-1)])
        real, lengths = self._real_steps(counts)
        return Value(self.steps_first(Value(vectors)), True, real, lengths)

    def average(self, layer: GlobalAveragePooling1D, value: Value) -> Value:
        """Write the mean over the real steps."""
        graph, kept = self.graph, int(layer.keepdims)
        if value.real is None:
            axis = 0 if value.steps_first else 1
            y = graph.add("ReduceMean", [value.name], axes=[axis], keepdims=kept)
            return Value(y, value.steps_first and layer.keepdims)
        assert value.lengths is not None
        x = graph.add("Where", [value.real, self.steps_first(value), graph.tensor("zero", 0.0)])
        total = graph.add("ReduceSum", [x, graph.integers(0)], keepdims=kept)
        count = graph.add("Max", [value.lengths, graph.tensor("integer one", 1, np.int32)])
        number = graph.onnx.helper.np_dtype_to_tensor_dtype(graph.dtype)
        axes = graph.integers(0, 2) if kept else graph.integers(1)
        divisor = graph.add("Unsqueeze", [graph.add("Cast", [count], to=number), axes])
        return Value(graph.add("Div", [total, divisor]), layer.keepdims)

    def maximum(self, layer: GlobalMaxPooling1D, value: Value) -> Value:
        """Write the maximum over all steps, the masked ones too, as in Keras."""
        axis = 0 if value.steps_first else 1
        y = self.graph.add("ReduceMax", [value.name], axes=[axis], keepdims=int(layer.keepdims))
        return Value(y, value.steps_first and layer.keepdims)

    def layer_normalization(self, layer: LayerNormalization, value: Value) -> Value:
        """Write a LayerNormalization node over the last axis."""
        graph = self.graph
        gamma = np.ones(self.shape[-1] or 0, graph.dtype) if layer.gamma is None else layer.gamma.numpy()
        inputs = [value.name, graph.tensor(f"{layer.name}.gamma", gamma)]
        if layer.beta is not None:
            inputs.append(graph.tensor(f"{layer.name}.beta", layer.beta.numpy()))
        epsilon = exact(layer.epsilon, graph.dtype.name, "epsilon")
        y = graph.add("LayerNormalization", inputs, epsilon=epsilon)
        return Value(y, value.steps_first, value.real, value.lengths)

    def time_distributed(self, layer: TimeDistributed, value: Value) -> Value:
        """Write a layer that does the same for any number of axes in front of the last."""
        write = _OF_EACH_STEP.get(type(layer.layer))
        if write is None:
            known = [cls.__name__ for cls in _OF_EACH_STEP]
            raise ValueError(f"layer: expected one of the classes {known}, got {layer.layer!r}")
        written: Value = write(self, layer.layer, value)
        return written

    def repeat(self, layer: RepeatVector, value: Value) -> Value:
        """Write what makes steps of a vector."""
        graph = self.graph
        row = graph.add("Unsqueeze", [value.name, graph.integers(0)])
        return Value(graph.add("Expand", [row, graph.integers(layer.n, 1, 1)]), True)

    def reshape(self, layer: Reshape, value: Value) -> Value:
        """Write a Reshape node that keeps the batch axis."""
        x = self.batch_first(value)
        return Value(self.graph.add("Reshape", [x, self.graph.integers(0, *layer.target_shape)]))

    def permute(self, layer: Permute, value: Value) -> Value:
        """Write a Transpose node that keeps the batch axis."""
        x = self.batch_first(value)
        return Value(self.graph.add("Transpose", [x], perm=[0, *layer.dims]))

    def flatten(self, _layer: Flatten, value: Value) -> Value:
        """Write a Flatten node."""
        return Value(self.graph.add("Flatten", [self.batch_first(value)], axis=1))

    def masking(self, layer: Masking, value: Value) -> Value:
        """Write what counts the real steps, and clears the others."""
        self._check_mask("")
        graph = self.graph
        x = self.steps_first(value)
        if math.isnan(layer.mask_value):
            kept = graph.add("Equal", [x, x])  # NaN alone differs from itself.
        else:
            masked_value = graph.tensor(f"{layer.name}.mask_value", layer.mask_value)
            kept = graph.add("Not", [graph.add("Equal", [x, masked_value])])
        differs = graph.add("Cast", [kept], to=INT32)
        counts = graph.add("ReduceMax", [differs], axes=[-1], keepdims=1)
        real, lengths = self._real_steps(counts)
        cleared = graph.add("Where", [real, x, graph.tensor("zero", 0.0)])
        return Value(cleared, True, real, lengths)

    def _check_mask(self, option: str) -> None:
        if not self.right_padding:
            raise ValueError(
                f"{option}ONNX has only masks whose masked steps come last; "
                "say to_onnx(..., right_padding=True) if that is so"
            )
        if self.initial_states:
            raise ValueError(f"{option}initial_states: expected False together with masks, got True")

    def _real_steps(self, counts: str) -> tuple[str, str]:
        """Return which steps are real and how many, from int32 (T, B, 1), 1 for those that are."""
        real = self.graph.add("Cast", [counts], to=BOOL)
        return real, self.graph.add("ReduceSum", [counts, self.graph.integers(0, 2)], keepdims=0)


_OF_EACH_STEP: dict[type[Layer], Any] = {
    Activation: LayerWriter.activation,
    Dense: LayerWriter.dense,
    Dropout: LayerWriter.nothing,
    GaussianNoise: LayerWriter.nothing,
    LayerNormalization: LayerWriter.layer_normalization,
    SpatialDropout1D: LayerWriter.nothing,
}
