"""Models of Keras, ONNX and PyTorch: read, written, and compared with what these libraries compute."""
