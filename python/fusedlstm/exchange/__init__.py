"""Models that come from, or go to, other libraries."""

from fusedlstm.exchange.keras import from_keras, to_keras
from fusedlstm.exchange.keras_files import load_keras, load_keras_weights, save_keras, save_keras_weights
from fusedlstm.exchange.onnx import OnnxModel, from_onnx, to_onnx
from fusedlstm.exchange.torch import from_torch, to_torch

__all__ = [
    "OnnxModel",
    "from_keras",
    "from_onnx",
    "from_torch",
    "load_keras",
    "load_keras_weights",
    "save_keras",
    "save_keras_weights",
    "to_keras",
    "to_onnx",
    "to_torch",
]
