// The project's kernels as functions of the module _simt. They take arrays that the module's own array() and
// empty() made, of one number type and in C order, write those that are named as outputs, and trust shapes.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

namespace simt {

template <class T>
using Array = pybind11::array_t<T, pybind11::array::c_style>;

void bind_cell(pybind11::module_& module);            // cell.cpp
void bind_small_sequence(pybind11::module_& module);  // small_sequence.cpp

}  // namespace simt
