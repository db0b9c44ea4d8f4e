// The cell's options as Python hands them over.
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <tuple>

#include "checks.h"

namespace fusedlstm::bindings {

// The options that fusedlstm.ops.CellOptions makes of itself once. Arrays are still as Python has them: each
// call checks those that it reads.
struct CellSettings {
  using Function = std::tuple<std::int32_t, double, double>;  // an activation's number, alpha and beta

  Function gate;
  Function candidate;
  Function output;
  py::object peepholes;  // (3,H) or None
  double cell_clip;      // 0 for no limit
  bool coupled;
  double zoneout_h;
  double zoneout_c;
  py::object layer_norm;  // fusedlstm.ops.LayerNorm or None
  double gate_clip;       // 0 for no limit
  // The parameters of layer_norm: gamma_input (4H), gamma_recurrent (4H), gamma_cell (H), beta_cell (H),
  // epsilon.
  std::array<py::object, 4> parameters = {};
  double epsilon = 0.0;
};

// The options of a call whose arrays are checked. Zoneout is drawn by a seed, an integer, or with None the
// expectation. `options` outlives this.
class CheckedOptions {
 public:
  CheckedOptions(const py::object& options, Number number, Index units, const py::object& zoneout_seed);

  // Whether `is` holds for the peepholes or a parameter of layer normalization.
  template <class Is>
  bool any_array(const Is& is) const {
    const auto there = [&](const Held& array) { return array && is(array); };
    return there(peepholes_) || std::any_of(norm_.begin(), norm_.end(), there);
  }

  // Options besides layer normalization, and that.
  template <class T>
  std::optional<CellOptions<T>> cell() const {
    if (!differs_) return std::nullopt;
    const auto activation = [](const CellSettings::Function& function) {
      const auto& [kind, alpha, beta] = function;
      return Activation<T>{static_cast<ActivationKind>(kind), static_cast<T>(alpha), static_cast<T>(beta)};
    };
    return CellOptions<T>{.gate = activation(settings_->gate),
                          .candidate = activation(settings_->candidate),
                          .output = activation(settings_->output),
                          .peepholes = data_of<T>(peepholes_),
                          .cell_clip = static_cast<T>(settings_->cell_clip),
                          .coupled = settings_->coupled,
                          .zoneout = {settings_->zoneout_c, settings_->zoneout_h, drawn_, seed_},
                          .gate_clip = static_cast<T>(settings_->gate_clip)};
  }
  template <class T>
  std::optional<LayerNorm<T>> layer_norm() const {
    if (!norm_[0]) return std::nullopt;
    return LayerNorm<T>{data_of<T>(norm_[0]), data_of<T>(norm_[1]), data_of<T>(norm_[2]),
                        data_of<T>(norm_[3]), static_cast<T>(settings_->epsilon)};
  }

 private:
  const CellSettings* settings_ = nullptr;
  bool differs_ = false;
  Held peepholes_;
  std::array<Held, 4> norm_;
  bool drawn_ = false;
  std::uint64_t seed_ = 0;
};

}  // namespace fusedlstm::bindings
