"""Tests of ONNX's exchange: its LSTM operator, other operators, written models, files."""
