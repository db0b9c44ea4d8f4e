"""ONNX's operators that normalize: over features, or each feature by numbers from training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.exchange.onnx.inputs import Inputs, Operator, axis_of, optional, required

if TYPE_CHECKING:
    from fusedlstm.exchange.onnx.file import Array


def _layer_normalization(inputs: Inputs, attributes: dict[str, Any], _opset: int) -> list[Array]:
    x, scale = required(inputs, 2)
    shift = optional(inputs, 2)
    first = axis_of(attributes.get("axis", -1), x.ndim)
    axes = tuple(range(first, x.ndim))
    if x.dtype.kind != "f" or any(one is not None and one.dtype != x.dtype for one in (scale, shift)):
        raise ValueError(f"expected inputs of one floating-point type, got {x.dtype} and {scale.dtype}")
    mean = x.mean(axis=axes, keepdims=True)
    variance = np.square(x - mean).mean(axis=axes, keepdims=True)
    inverse = 1 / np.sqrt(variance + np.asarray(attributes.get("epsilon", 1e-5), x.dtype))
    y = (x - mean) * inverse * scale
    return [y if shift is None else y + shift, mean, inverse]


def _batch_normalization(inputs: Inputs, attributes: dict[str, Any], _opset: int) -> list[Array]:
    x, *vectors = required(inputs, 5)  # scale, shift, mean, variance
    if attributes.get("training_mode", 0) or not attributes.get("spatial", 1):
        raise ValueError("training_mode, spatial: expected a normalization by numbers from training")
    if x.ndim < 2 or x.dtype.kind != "f" or any(one.shape != x.shape[1:2] for one in vectors):
        raise ValueError(f"expected float32 or float64 (B, F, ...) and four vectors, got shape {x.shape}")
    along = (-1, *[1] * (x.ndim - 2))
    scale, shift, mean, variance = (one.astype(x.dtype).reshape(along) for one in vectors)
    epsilon = np.asarray(attributes.get("epsilon", 1e-5), x.dtype)
    with np.errstate(divide="ignore", invalid="ignore"):
        return [(x - mean) * (scale / np.sqrt(variance + epsilon)) + shift]


NORMALIZATION: dict[str, Operator] = {
    "BatchNormalization": _batch_normalization,
    "LayerNormalization": _layer_normalization,
}
