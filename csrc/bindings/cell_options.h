// The cell's options as Python gives them.
#pragma once

#include <algorithm>
#include <array>

#include "checks.h"

namespace fusedlstm::bindings {

// None, or what fusedlstm.ops.CellOptions hands over: (gate, candidate, output, peepholes, cell_clip,
// coupled, zoneout_h, zoneout_c, layer_norm, gate_clip), with each activation as (kind, alpha, beta),
// peepholes None or (3,H), and layer_norm None or (gamma_input (4H), gamma_recurrent (4H), gamma_cell (H),
// beta_cell (H), epsilon). Zoneout is drawn by a seed, an integer, or with None the expectation.
class GivenOptions {
 public:
  GivenOptions() = default;
  GivenOptions(const py::object& options, Number number, Index units, const py::object& zoneout_seed);

  // Whether there are options besides layer normalization.
  explicit operator bool() const { return given_; }
  bool has_peepholes() const { return static_cast<bool>(peepholes_); }
  bool keeps_h() const { return given_ && values_.zoneout.h > 0; }
  bool has_zoneout() const { return keeps_h() || (given_ && values_.zoneout.c > 0); }
  bool has_layer_norm() const { return static_cast<bool>(norm_[0]); }

  // Whether `is` holds for the peepholes or a parameter of layer normalization.
  template <class Is>
  bool any_array(const Is& is) const {
    const auto there = [&](const Held& array) { return array && is(array); };
    return there(peepholes_) || std::any_of(norm_.begin(), norm_.end(), there);
  }

  // For a tape, which must not see later changes of arrays.
  GivenOptions copied() const;

  template <class T>
  CellOptions<T> typed() const {
    const auto activation = [](const Activation<double>& f) {
      return Activation<T>{f.kind, static_cast<T>(f.alpha), static_cast<T>(f.beta)};
    };
    return {activation(values_.gate), activation(values_.candidate),     activation(values_.output),
            data_of<T>(peepholes_),   static_cast<T>(values_.cell_clip), values_.coupled,
            values_.zoneout,          static_cast<T>(values_.gate_clip)};
  }

  template <class T>
  LayerNorm<T> layer_norm() const {
    return {data_of<T>(norm_[0]), data_of<T>(norm_[1]), data_of<T>(norm_[2]), data_of<T>(norm_[3]),
            static_cast<T>(epsilon_)};
  }

 private:
  bool given_ = false;
  CellOptions<double> values_{};
  Held peepholes_;
  std::array<Held, 4> norm_;
  double epsilon_ = 0.0;
};

}  // namespace fusedlstm::bindings
