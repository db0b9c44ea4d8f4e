// The project's CUDA kernels on the simulated GPU.
#include "kernels.h"
#include "module.h"

PYBIND11_MODULE(_simt, module) {
  module.doc() = "CUDA kernels of fusedlstm on a simulated GPU, for tests.";
  simt::bind_machine(module);
  simt::bind_cell(module);
  simt::bind_small_sequence(module);
}
