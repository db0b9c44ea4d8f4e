#include "cell_options.h"

#include <pybind11/stl.h>

#include <tuple>

namespace fusedlstm::bindings {
namespace {

using Given = std::tuple<std::int32_t, double, double>;

Activation<double> activation(const py::handle& given) {
  const auto [kind, alpha, beta] = py::cast<Given>(given);
  return {static_cast<ActivationKind>(kind), alpha, beta};
}

}  // namespace

GivenOptions::GivenOptions(const py::object& options, Number number, Index units) {
  if (options.is_none()) return;
  const auto tuple = py::cast<py::tuple>(options);
  given_ = true;
  values_ = {activation(tuple[0]),       activation(tuple[1]),    activation(tuple[2]), nullptr,
             py::cast<double>(tuple[4]), py::cast<bool>(tuple[5])};
  if (!tuple[3].is_none()) {
    // A copy: the tape must not see later changes.
    peepholes_ = contiguous("peepholes", tuple[3], number, {{"3", 3}, {"H", units}}).attr("copy")();
  }
}

}  // namespace fusedlstm::bindings
