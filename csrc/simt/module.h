// Functions that every extension module of simulated kernels offers besides them.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

namespace simt {

// Fault; set_order and set_device; empty and array, which make NumPy arrays in the simulated device memory.
void bind_machine(pybind11::module_& module);

}  // namespace simt
