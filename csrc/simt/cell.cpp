#include "../cuda/cell.h"

#include <pybind11/stl.h>

#include <optional>

#include "kernels.h"
#include "options.h"

namespace py = pybind11;

namespace simt {
namespace {

using namespace fusedlstm;

template <class T>
void forward(const Array<T>& z, const Array<T>& c_prev, Array<T>& h, Array<T>& c, Array<T>& gates,
             const py::object& given) {
  const auto options = options_of<T>(given);
  cuda::cell_forward<T>({.batch = c_prev.shape(0),
                         .units = c_prev.shape(1),
                         .z = z.data(),
                         .c_prev = c_prev.data(),
                         .h = h.mutable_data(),
                         .c = c.mutable_data(),
                         .gates = gates.mutable_data()},
                        options ? &*options : nullptr, nullptr);
}

template <class T>
void backward(const Array<T>& gates, const Array<T>& c_prev, const Array<T>& c, const Array<T>& dh,
              const std::optional<Array<T>>& dc, Array<T>& dz, Array<T>& dc_prev, const py::object& given) {
  const auto options = options_of<T>(given);
  cuda::cell_backward<T>({.batch = c_prev.shape(0),
                          .units = c_prev.shape(1),
                          .gates = gates.data(),
                          .c_prev = c_prev.data(),
                          .c = c.data(),
                          .dh = dh.data(),
                          .dc = dc ? dc->data() : nullptr,
                          .dz = dz.mutable_data(),
                          .dc_prev = dc_prev.mutable_data()},
                         options ? &*options : nullptr, nullptr);
}

template <class T>
void bind(py::module_& module) {
  const auto array = [](const char* name) { return py::arg(name).noconvert(); };
  module.def("cell_forward", &forward<T>, array("z"), array("c_prev"), array("h"), array("c"), array("gates"),
             py::arg("options") = py::none());
  module.def("cell_backward", &backward<T>, array("gates"), array("c_prev"), array("c"), array("dh"),
             array("dc"), array("dz"), array("dc_prev"), py::arg("options") = py::none());
}

}  // namespace

void bind_cell(py::module_& module) {
  bind<float>(module);
  bind<double>(module);
}

}  // namespace simt
