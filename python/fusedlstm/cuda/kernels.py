"""What `fusedlstm._core` has for NumPy arrays, by the same names for device arrays (see ops.dispatch)."""

from __future__ import annotations

from fusedlstm.cuda.dense import (
    dense_backward,
    dense_forward,
    embedding_backward,
    embedding_forward,
    layer_norm_backward,
    layer_norm_forward,
)
from fusedlstm.cuda.elementwise import (
    adam_update,
    cell_backward,
    cell_forward,
    dropout,
    rmsprop_update,
    sgd_update,
    squared_norm,
)
from fusedlstm.cuda.lstm import lstm_backward, lstm_forward, lstm_step

__all__ = [
    "adam_update",
    "cell_backward",
    "cell_forward",
    "dense_backward",
    "dense_forward",
    "dropout",
    "embedding_backward",
    "embedding_forward",
    "layer_norm_backward",
    "layer_norm_forward",
    "lstm_backward",
    "lstm_forward",
    "lstm_step",
    "rmsprop_update",
    "sgd_update",
    "squared_norm",
]
