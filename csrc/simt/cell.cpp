#include "../cuda/cell.h"

#include <pybind11/stl.h>

#include <optional>
#include <tuple>

#include "kernels.h"

namespace py = pybind11;

namespace simt {
namespace {

using namespace fusedlstm;

// What fusedlstm.ops.CellOptions hands over as `given`; csrc/bindings/cell_options.h says what it is made of.
template <class T>
std::optional<CellOptions<T>> options_of(const py::object& given) {
  if (given.is_none()) return std::nullopt;
  const auto tuple = py::cast<py::tuple>(given);
  const auto activation = [&](std::size_t place) {
    const auto [kind, alpha, beta] = py::cast<std::tuple<std::int32_t, double, double>>(tuple[place]);
    return Activation<T>{static_cast<ActivationKind>(kind), static_cast<T>(alpha), static_cast<T>(beta)};
  };
  // The caller keeps the array alive.
  const T* peepholes = tuple[3].is_none() ? nullptr : py::cast<Array<T>>(tuple[3]).data();
  return CellOptions<T>{.gate = activation(0),
                        .candidate = activation(1),
                        .output = activation(2),
                        .peepholes = peepholes,
                        .cell_clip = static_cast<T>(py::cast<double>(tuple[4])),
                        .coupled = py::cast<bool>(tuple[5]),
                        .zoneout = {},
                        .gate_clip = static_cast<T>(py::cast<double>(tuple[9]))};
}

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
