"""ONNX graphs, from and to models."""

from fusedlstm.exchange.onnx.model import OnnxInput, OnnxModel, from_onnx
from fusedlstm.exchange.onnx.writer import to_onnx

__all__ = ["OnnxInput", "OnnxModel", "from_onnx", "to_onnx"]
