"""What layers check of inputs' shapes and of what other layers return."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fusedlstm.base.types import Array, Shape
    from fusedlstm.layers.called import Called


def checked_pair(result: Any, layer: Called) -> tuple[Any, Any]:
    """Return what `forward` gives; `TypeError` if that is no ``(y, saved)``, of a layer of another origin."""
    if type(result) is not tuple or len(result) != 2:
        raise TypeError(f"{layer.name}: expected forward to return (y, saved), got {type(result).__name__}")
    return result


def feature_count(layer: Called, input_shape: Shape, rank: int | None, known: int | None) -> int:
    """Return the length of an input's last axis.

    Raises
    ------
    ValueError
        If the rank is not ``rank`` (None: at least 2), or the length is unknown or not ``known``.
    """
    wanted = "at least 2 axes (batch, ..., features)" if rank is None else "3 axes (batch, steps, features)"
    if len(input_shape) != rank if rank else len(input_shape) < 2:
        raise ValueError(f"x: expected {wanted} for layer {layer.name}, got shape {input_shape}")
    features = input_shape[-1]
    if features is None or features < 1:
        raise ValueError(f"x: expected a positive number of features for {layer.name}, got {input_shape}")
    if known is not None and features != known:
        raise ValueError(f"x: expected {known} features for {layer.name}, got shape {input_shape}")
    return features


def as_rows(x: Array) -> Array:
    """Return ``x`` (..., features) as a matrix."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
