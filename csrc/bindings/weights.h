// LSTMWeights as Python sees it: packed weights that can be replaced.
#pragma once

#include <memory>
#include <variant>

#include "../cpu/sequence.h"
#include "checks.h"

namespace fusedlstm::bindings {

class Weights {
 public:
  Weights(const py::object& kernel, const py::object& recurrent_kernel, const py::object& bias,
          const py::object& projection, const py::object& storage, const py::object& compute);

  void update(const py::object& kernel, const py::object& recurrent_kernel, const py::object& bias,
              const py::object& projection);
  py::tuple unpack() const;
  py::object bias() const;     // a copy, or None
  py::object factors() const;  // of int8 weights: those of each matrix's columns; else None

  Number number() const { return number_; }
  Storage storage() const { return storage_; }
  Index inputs() const { return inputs_; }
  Index units() const { return units_; }
  Index outputs() const { return outputs_; }
  bool projects() const { return projects_; }
  // The letter of h's size in messages.
  const char* outputs_letter() const { return projects_ ? "R" : "H"; }
  std::uint64_t version() const { return version_; }
  bool use_bias() const { return use_bias_; }

  // Whoever holds them keeps this version of the weights.
  template <class T>
  const Panels<T>& panels() const {
    return std::get<Panels<T>>(panels_);
  }

 private:
  void pack(const py::object& kernel, const py::object& recurrent_kernel, const py::object& bias,
            const py::object& projection);
  template <class T>
  py::array per_column(typename LstmPanels<T>::PerColumn which, Index count) const;

  Number number_;
  Storage storage_ = Storage::full;
  Index inputs_ = 0;
  Index units_ = 0;
  Index outputs_ = 0;
  bool projects_ = false;
  std::uint64_t version_ = 0;
  bool use_bias_ = false;
  std::variant<Panels<float>, Panels<double>> panels_;
};

}  // namespace fusedlstm::bindings
