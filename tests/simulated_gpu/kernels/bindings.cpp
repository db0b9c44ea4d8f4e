// Arrays must come from the module's own empty() and array().
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "../../../csrc/simt/module.h"
#include "kernels.h"

namespace py = pybind11;

namespace simt_tests {
namespace {

using Floats = py::array_t<float, py::array::c_style>;
using Ints = py::array_t<int, py::array::c_style>;
using Counters = py::array_t<unsigned, py::array::c_style>;
using Words = py::array_t<std::uint16_t, py::array::c_style>;

int extent(const py::array& array, int axis) { return static_cast<int>(array.shape(axis)); }

}  // namespace
}  // namespace simt_tests

PYBIND11_MODULE(_simt_tests, module) {
  using namespace simt_tests;
  simt::bind_machine(module);
  module.def("reduce_rows", [](const Floats& x, Floats& sums) {
    reduce_rows(x.data(), sums.mutable_data(), extent(x, 0), extent(x, 1));
  });
  module.def("multiply_matrices", [](const Floats& a, const Floats& b, Floats& c) {
    multiply_matrices(a.data(), b.data(), c.mutable_data(), extent(c, 0), extent(c, 1), extent(a, 1));
  });
  module.def("multiply_tile",
             [](const std::string& number, const Floats& a, const Floats& b, const Floats& c, Floats& d) {
               multiply_tile(number, a.data(), b.data(), c.data(), d.mutable_data());
             });
  module.def("pipeline", [](Floats& x, Floats& scratch, int steps, int blocks) {
    pipeline(x.mutable_data(), scratch.mutable_data(), extent(x, 0), steps, blocks);
  });
  module.def("pipelines", [](Floats& x, Floats& scratch, Counters& counters, int steps, int group) {
    pipelines(x.mutable_data(), scratch.mutable_data(), counters.mutable_data(), extent(x, 0), extent(x, 1),
              steps, group);
  });
  module.def("transpose_tile", [](const Words& x, Words& y) { transpose_tile(x.data(), y.mutable_data()); });
  module.def("histogram", [](const Ints& x, Ints& counts) {
    histogram(x.data(), counts.mutable_data(), extent(x, 0), extent(counts, 0));
  });
  module.def("votes",
             [](const Ints& x, Ints& results) { votes(x.data(), results.mutable_data(), extent(x, 0)); });
  module.def("convert", [](const Floats& x, Floats& half, Floats& bfloat16, Floats& tf32) {
    convert(x.data(), half.mutable_data(), bfloat16.mutable_data(), tf32.mutable_data(), extent(x, 0));
  });
  module.def("intrinsics",
             [](const Floats& x, Floats& y) { intrinsics(x.data(), y.mutable_data(), extent(x, 0)); });
  module.def("scan_warps",
             [](const Floats& x, Floats& y) { scan_warps(x.data(), y.mutable_data(), extent(x, 0)); });
  module.def("barrier_storm", &barrier_storm);
  module.def("run_faulty",
             [](const std::string& name, Floats& x) { run_faulty(name, x.mutable_data(), extent(x, 0)); });
}
