// The device's kernels as functions of an extension module: _cuda, or _simt, whose device is simulated.
//
// They are for the package's own Python code, which has checked everything: arrays are addresses of device
// memory (None for none), in C order unless strides are given, and streams are cudaStream_t as numbers.
#pragma once

#include <pybind11/pybind11.h>

namespace fusedlstm::cuda {

void bind_kernels(pybind11::module_& module);  // bindings.cpp
void bind_arrays(pybind11::module_& module);   // array_bindings.cpp, called by bind_kernels

}  // namespace fusedlstm::cuda
