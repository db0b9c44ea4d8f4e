#include "cell_options.h"

#include <pybind11/stl.h>

#include <tuple>

namespace fusedlstm::bindings {
namespace {

using Given = std::tuple<std::int32_t, double, double>;

// The low 64 bits of a whole number, which is all that the draws depend on.
std::uint64_t seed_bits(const py::object& seed) {
  const auto bits = PyLong_AsUnsignedLongLongMask(seed.ptr());
  if (PyErr_Occurred() != nullptr) throw py::error_already_set();
  return bits;
}

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
    values_ = {
        activation(tuple[0]),
        activation(tuple[1]),
        activation(tuple[2]),
        nullptr,
        py::cast<double>(tuple[4]),
        py::cast<bool>(tuple[5]),
        {py::cast<double>(tuple[7]), py::cast<double>(tuple[6]), drawn, drawn ? seed_bits(zoneout_seed) : 0},
        py::cast<double>(tuple[9])};
    if (!tuple[3].is_none()) {
      peepholes_ = contiguous("peepholes", tuple[3], number, {{"3", 3}, {"H", units}});
    }
    if (!tuple[8].is_none()) {
      const auto norm = py::cast<py::tuple>(tuple[8]);
      norm_ = {contiguous("gamma_input", norm[0], number, {{"4H", 4 * units}}),
               contiguous("gamma_recurrent", norm[1], number, {{"4H", 4 * units}}),
               contiguous("gamma_cell", norm[2], number, {{"H", units}}),
               contiguous("beta_cell", norm[3], number, {{"H", units}})};
      epsilon_ = py::cast<double>(norm[4]);
      // A cell that has nothing but layer normalization runs the plain equations.
      given_ = has_peepholes() || values_.coupled || values_.cell_clip > 0.0 || values_.gate_clip > 0.0 ||
               values_.zoneout.c > 0.0 || values_.zoneout.h > 0.0 ||
               values_.gate.kind != ActivationKind::sigmoid ||
               values_.candidate.kind != ActivationKind::tanh || values_.output.kind != ActivationKind::tanh;
    }
  }
  if (drawn && values_.zoneout.c == 0 && values_.zoneout.h == 0) {
    raise_value("zoneout_seed", "None without zoneout_h or zoneout_c in options",
                py::cast<std::string>(py::str(zoneout_seed)));
  }
}

GivenOptions GivenOptions::copied() const {
  GivenOptions copy = *this;
  const auto copy_array = [](Held& held) {
    if (held) held = Held(held.array().attr("copy")());
  };
  copy_array(copy.peepholes_);
  for (Held& held : copy.norm_) copy_array(held);
  return copy;
}

}  // namespace fusedlstm::bindings
