"""Tests of the simulated GPU, and of kernels, operations, layers and models on it."""
