#include "../cuda/small_sequence.h"

#include <pybind11/stl.h>

#include <optional>

#include "kernels.h"
#include "options.h"

namespace py = pybind11;

namespace simt {
namespace {

using namespace fusedlstm;

template <class T>
using Maybe = std::optional<Array<T>>;

template <class T>
const T* data_or_null(const Maybe<T>& array) {
  return array ? array->data() : nullptr;
}
template <class T>
T* data_or_null(Maybe<T>& array) {
  return array ? array->mutable_data() : nullptr;
}

template <class T>
void forward(const Array<T>& z_x, const Array<T>& recurrent_kernel, const Maybe<T>& h0, const Maybe<T>& c0,
             const Maybe<Index>& lengths, Array<T>& y, Array<T>& h, Array<T>& c, Maybe<T> gates,
             Maybe<T> cells, const Maybe<T>& recurrent_mask, const py::object& given,
             std::optional<std::uint64_t> zoneout_seed, bool zero_padding) {
  const auto options = options_of<T>(given, zoneout_seed);
  cuda::small_forward<T>({.batch = y.shape(0),
                          .steps = y.shape(1),
                          .units = y.shape(2),
                          .z_x = z_x.data(),
                          .recurrent_kernel = recurrent_kernel.data(),
                          .h0 = data_or_null(h0),
                          .c0 = data_or_null(c0),
                          .lengths = data_or_null(lengths),
                          .recurrent_mask = data_or_null(recurrent_mask),
                          .zero_padding = zero_padding,
                          .y = y.mutable_data(),
                          .h = h.mutable_data(),
                          .c = c.mutable_data(),
                          .gates = data_or_null(gates),
                          .cells = data_or_null(cells)},
                         options ? &*options : nullptr, nullptr);
}

template <class T>
void backward(const Array<T>& recurrent_kernel, const Maybe<Index>& lengths, const Array<T>& cells,
              const Maybe<T>& dy, const Maybe<T>& dh, const Maybe<T>& dc, Array<T>& gates, Array<T>& dh0,
              Array<T>& dc0, Maybe<T> dpeepholes, const Maybe<T>& recurrent_mask, const py::object& given,
              std::optional<std::uint64_t> zoneout_seed, bool zero_padding) {
  const auto options = options_of<T>(given, zoneout_seed);
  cuda::small_backward<T>({.batch = gates.shape(0),
                           .steps = gates.shape(1),
                           .units = dh0.shape(1),
                           .recurrent_kernel = recurrent_kernel.data(),
                           .lengths = data_or_null(lengths),
                           .recurrent_mask = data_or_null(recurrent_mask),
                           .zero_padding = zero_padding,
                           .cells = cells.data(),
                           .dy = data_or_null(dy),
                           .dh = data_or_null(dh),
                           .dc = data_or_null(dc),
                           .gates = gates.mutable_data(),
                           .dh0 = dh0.mutable_data(),
                           .dc0 = dc0.mutable_data(),
                           .dpeepholes = data_or_null(dpeepholes)},
                          options ? &*options : nullptr, nullptr);
}

template <class T>
void bind(py::module_& module) {
  const auto array = [](const char* name) { return py::arg(name).noconvert(); };
  const auto optional = [&](const char* name) { return (py::arg(name).noconvert() = py::none()); };
  module.def("small_forward", &forward<T>, array("z_x"), array("recurrent_kernel"), array("h0"), array("c0"),
             array("lengths"), array("y"), array("h"), array("c"), array("gates"), array("cells"),
             optional("recurrent_mask"), optional("options"), optional("zoneout_seed"),
             py::arg("zero_padding") = false);
  module.def("small_backward", &backward<T>, array("recurrent_kernel"), array("lengths"), array("cells"),
             array("dy"), array("dh"), array("dc"), array("gates"), array("dh0"), array("dc0"),
             optional("dpeepholes"), optional("recurrent_mask"), optional("options"),
             optional("zoneout_seed"), py::arg("zero_padding") = false);
}

}  // namespace

void bind_small_sequence(py::module_& module) {
  bind<float>(module);
  bind<double>(module);
  module.def(
      "small_shared_bytes",
      [](Index units, bool is_double, bool options) {
        return is_double ? cuda::small_shared_bytes<double>(units, options)
                         : cuda::small_shared_bytes<float>(units, options);
      },
      py::arg("units"), py::arg("is_double"), py::arg("options") = false);
}

}  // namespace simt
