// The parts of the extension module, and the note of what ran last.
#pragma once

#include <pybind11/pybind11.h>

#include "../cpu/kernel_run.h"

namespace fusedlstm::bindings {

void bind_build(pybind11::module_& module);
void bind_cell_options(pybind11::module_& module);
void bind_weights(pybind11::module_& module);
void bind_lstm(pybind11::module_& module);
void bind_second_order(pybind11::module_& module);
void bind_dense(pybind11::module_& module);
void bind_layer_norm(pybind11::module_& module);
void bind_ctc(pybind11::module_& module);
void bind_elementwise(pybind11::module_& module);
void bind_embedding(pybind11::module_& module);
void bind_ctc_decode(pybind11::module_& module);
void bind_edit_distance(pybind11::module_& module);
void bind_overlap(pybind11::module_& module);
void bind_sizes(pybind11::module_& module);
void bind_machine(pybind11::module_& module);
void bind_strict(pybind11::module_& module);

// Remembered for the calling thread; last_kernel() turns it into text.
void note_run(const KernelRun& run);

}  // namespace fusedlstm::bindings
