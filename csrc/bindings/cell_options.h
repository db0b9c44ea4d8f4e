// The cell's options as Python gives them.
#pragma once

#include "checks.h"

namespace fusedlstm::bindings {

// None, or what fusedlstm.ops.CellOptions hands over: (gate, candidate, output, peepholes, cell_clip,
// coupled, zoneout_h, zoneout_c), with each activation as (kind, alpha, beta) and peepholes None or (3,H).
// Zoneout is drawn by a seed, an integer, or with None the expectation.
class GivenOptions {
 public:
  GivenOptions() = default;
  GivenOptions(const py::object& options, Number number, Index units, const py::object& zoneout_seed);

  explicit operator bool() const { return given_; }
  bool has_peepholes() const { return !peepholes_.is_none(); }
  bool keeps_h() const { return given_ && values_.zoneout.h > 0; }

  template <class T>
  CellOptions<T> typed() const {
    const auto activation = [](const Activation<double>& f) {
      return Activation<T>{f.kind, static_cast<T>(f.alpha), static_cast<T>(f.beta)};
    };
    return {activation(values_.gate),
            activation(values_.candidate),
            activation(values_.output),
            data_or_null<T>(peepholes_),
            static_cast<T>(values_.cell_clip),
            values_.coupled,
            values_.zoneout};
  }

 private:
  bool given_ = false;
  CellOptions<double> values_{};
  py::object peepholes_ = py::none();
};

}  // namespace fusedlstm::bindings
