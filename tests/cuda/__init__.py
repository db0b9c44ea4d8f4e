"""Tests of the CUDA half: what nvcc made of the kernels, this machine's devices, and the Python side."""
