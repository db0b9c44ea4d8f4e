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

GivenOptions::GivenOptions(const py::object& options, Number number, Index units,
                           const py::object& zoneout_seed) {
  const bool drawn = !zoneout_seed.is_none();
  if (!options.is_none()) {
    const auto tuple = py::cast<py::tuple>(options);
    given_ = true;
    values_ = {activation(tuple[0]),
               activation(tuple[1]),
               activation(tuple[2]),
               nullptr,
               py::cast<double>(tuple[4]),
               py::cast<bool>(tuple[5]),
               {py::cast<double>(tuple[7]), py::cast<double>(tuple[6]), drawn,
                drawn ? py::cast<std::uint64_t>(zoneout_seed) : 0}};
    if (!tuple[3].is_none()) {
      // A copy: the tape must not see later changes.
      peepholes_ = contiguous("peepholes", tuple[3], number, {{"3", 3}, {"H", units}}).attr("copy")();
    }
  }
  if (drawn && values_.zoneout.c == 0 && values_.zoneout.h == 0) {
    raise_value("zoneout_seed", "None without zoneout_h or zoneout_c in options",
                py::cast<std::string>(py::str(zoneout_seed)));
  }
}

}  // namespace fusedlstm::bindings
