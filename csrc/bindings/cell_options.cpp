#include "cell_options.h"

#include <pybind11/stl.h>

#include "module.h"

namespace fusedlstm::bindings {
namespace {

CellSettings make_settings(const CellSettings::Function& gate, const CellSettings::Function& candidate,
                           const CellSettings::Function& output, const py::object& peepholes,
                           double cell_clip, bool coupled, double zoneout_h, double zoneout_c,
                           const py::object& layer_norm, double gate_clip) {
  CellSettings settings{gate,    candidate, output,    peepholes,  cell_clip,
                        coupled, zoneout_h, zoneout_c, layer_norm, gate_clip};
  if (!layer_norm.is_none()) {
    settings.parameters = {layer_norm.attr("gamma_input"), layer_norm.attr("gamma_recurrent"),
                           layer_norm.attr("gamma_cell"), layer_norm.attr("beta_cell")};
    settings.epsilon = py::cast<double>(layer_norm.attr("epsilon"));
  }
  return settings;
}

// Whether the equations are others than the plain ones, layer normalization aside.
bool differs(const CellSettings& settings) {
  const auto is = [](const CellSettings::Function& function, ActivationKind kind) {
    return std::get<0>(function) == static_cast<std::int32_t>(kind);
  };
  return !settings.peepholes.is_none() || settings.coupled || settings.cell_clip > 0.0 ||
         settings.gate_clip > 0.0 || settings.zoneout_c > 0.0 || settings.zoneout_h > 0.0 ||
         !is(settings.gate, ActivationKind::sigmoid) || !is(settings.candidate, ActivationKind::tanh) ||
         !is(settings.output, ActivationKind::tanh);
}

}  // namespace

CheckedOptions::CheckedOptions(const py::object& options, Number number, Index units,
                               const py::object& zoneout_seed) {
  if (!options.is_none()) {
    settings_ = &py::cast<const CellSettings&>(options);
    differs_ = settings_->layer_norm.is_none() || differs(*settings_);
    if (!settings_->peepholes.is_none()) {
      peepholes_ = contiguous("peepholes", settings_->peepholes, number, {{"3", 3}, {"H", units}});
    }
    if (!settings_->layer_norm.is_none()) {
      const auto& [gamma_input, gamma_recurrent, gamma_cell, beta_cell] = settings_->parameters;
      norm_ = {contiguous("gamma_input", gamma_input, number, {{"4H", kGates * units}}),
               contiguous("gamma_recurrent", gamma_recurrent, number, {{"4H", kGates * units}}),
               contiguous("gamma_cell", gamma_cell, number, {{"H", units}}),
               contiguous("beta_cell", beta_cell, number, {{"H", units}})};
    }
  }
  if (zoneout_seed.is_none()) return;
  if (settings_ == nullptr || (settings_->zoneout_c == 0 && settings_->zoneout_h == 0)) {
    raise_value("zoneout_seed", "None without zoneout_h or zoneout_c in options",
                py::cast<std::string>(py::str(zoneout_seed)));
  }
  drawn_ = true;
  // The low 64 bits of a whole number, which is all that the draws depend on.
  seed_ = PyLong_AsUnsignedLongLongMask(zoneout_seed.ptr());
  if (PyErr_Occurred() != nullptr) throw py::error_already_set();
}

void bind_cell_options(py::module_& module) {
  py::class_<CellSettings>(module, "CellSettings")
      .def(py::init(&make_settings), py::kw_only(), py::arg("gate"), py::arg("candidate"), py::arg("output"),
           py::arg("peepholes"), py::arg("cell_clip"), py::arg("coupled"), py::arg("zoneout_h"),
           py::arg("zoneout_c"), py::arg("layer_norm"), py::arg("gate_clip"))
      .def_readonly("gate", &CellSettings::gate)
      .def_readonly("candidate", &CellSettings::candidate)
      .def_readonly("output", &CellSettings::output)
      .def_readonly("peepholes", &CellSettings::peepholes)
      .def_readonly("cell_clip", &CellSettings::cell_clip)
      .def_readonly("coupled", &CellSettings::coupled)
      .def_readonly("zoneout_h", &CellSettings::zoneout_h)
      .def_readonly("zoneout_c", &CellSettings::zoneout_c)
      .def_readonly("layer_norm", &CellSettings::layer_norm)
      .def_readonly("gate_clip", &CellSettings::gate_clip);
}

}  // namespace fusedlstm::bindings
