// Which steps of each row are real, as Python says it (lengths or a mask), and what that means for arrays
// that have all steps.
#pragma once

#include "checks.h"

namespace fusedlstm::bindings {

class RealSteps {
 public:
  RealSteps() = default;

  // From None or integers (B,), with padding on the right, or None or booleans (B,T); not both. Arguments are
  // copied: the tape must not see later changes. `go_backwards`: steps are numbered from the last to the
  // first.
  RealSteps(const py::object& lengths, const py::object& mask, bool zero_output_for_mask, bool go_backwards,
            Index batch, Index steps);

  bool all() const { return length_data_ == nullptr; }
  Timeline timeline(Index steps) const;

  // y (B,T,H) where no step is real: the state that the row has there (h0, zeros where it is null), or zeros.
  template <class T>
  void fill_outputs(T* y, const T* h0, Index batch, Index steps, Index units) const;

  // The opposite direction: for real steps, the gradient of all outputs that repeat them, in `sums` (B,T,H);
  // what h0 has repeated is added to dh0 (B,H).
  template <class T>
  void gather_gradients(const Sequence<const T>& dy, T* sums, T* dh0, Index batch, Index steps,
                        Index units) const;

  // Whether gather_gradients does anything.
  bool repeats() const { return repeats_; }

  // Steps of a (B,T,features) array in C order that are not real become zero.
  template <class T>
  void clear_others(T* data, Index batch, Index steps, Index features, bool backwards) const;

 private:
  // Calls body(b, t, real steps of the row up to and with t) for all steps of a row that are not real.
  template <class Body>
  void for_each_other(Index b, Index steps, const Body& body) const;

  py::object lengths_ = py::none();  // (B,) real steps, or None: all
  py::object times_ = py::none();    // (B,T) where they are, or None: on the left
  // Their elements, for those who run without the interpreter's lock.
  const Index* length_data_ = nullptr;
  const std::int32_t* time_data_ = nullptr;
  bool repeats_ = false;  // outputs repeat the state where no step is real
};

}  // namespace fusedlstm::bindings
