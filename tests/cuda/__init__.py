"""Tests of what nvcc made of the CUDA kernels, of builds with CUDA, and of this machine's devices."""
