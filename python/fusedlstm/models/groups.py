"""Which layers compute several groups of rows at once, with the bits of one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm.layers import (
    LSTM,
    Activation,
    Add,
    Bidirectional,
    Concatenate,
    Dense,
    Dropout,
    Flatten,
    Masking,
    Reshape,
    SpatialDropout1D,
)

if TYPE_CHECKING:
    from fusedlstm.layers import Layer

# Rows do not look at each other in any of them; gradients of weights are sums over groups of rows.
_PLAIN = (Activation, Add, Concatenate, Dense, Dropout, Flatten, Masking, Reshape, SpatialDropout1D)
_WEIGHTS = {"bias", "kernel", "recurrent_kernel"}


def computes_groups(layer: Layer) -> bool:
    """Tell whether a layer does; classes of other origin, and subclasses, may do anything."""
    if layer.activity_regularizer is not None:
        return False
    if type(layer) is Bidirectional:
        return _is_plain_lstm(layer.forward_layer) and _is_plain_lstm(layer.backward_layer)
    return type(layer) in _PLAIN or _is_plain_lstm(layer)


def _is_plain_lstm(layer: Any) -> bool:
    return (
        type(layer) is LSTM
        and not (layer.zoneout_h or layer.zoneout_c)
        and {weight.name for weight in layer.weights} <= _WEIGHTS
    )
