"""Tests of the CUDA build: what nvcc made of the kernels, and the devices of this machine."""
