// The project's CUDA kernels on the simulated GPU.
#include "../cuda/bindings.h"
#include "../cuda/small_sequence.h"
#include "module.h"

namespace {

void bind_small_shared_bytes(pybind11::module_& module) {
  using namespace fusedlstm;
  module.def(
      "small_shared_bytes",
      [](Index units, bool is_double, bool options) {
        return is_double ? cuda::small_shared_bytes<double>(units, options)
                         : cuda::small_shared_bytes<float>(units, options);
      },
      pybind11::arg("units"), pybind11::arg("is_double"), pybind11::arg("options") = false);
}

}  // namespace

PYBIND11_MODULE(_simt, module) {
  module.doc() = "CUDA kernels of fusedlstm on a simulated GPU, for tests.";
  simt::bind_machine(module);
  fusedlstm::cuda::bind_kernels(module);
  bind_small_shared_bytes(module);
}
