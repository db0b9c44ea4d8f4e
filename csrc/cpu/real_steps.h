// The real steps of each row, and their consequences for arrays that have all steps.
#pragma once

#include <memory>

#include "buffer.h"

namespace fusedlstm {

// Copies share what they say, which nobody changes. Steps are numbered in processing order.
class RealSteps {
 public:
  RealSteps() = default;  // all of them

  // The first lengths[b] steps of each row, or with `go_backwards`, which reads rows from their last step to
  // the first, the last ones. Throws std::invalid_argument for lengths beyond 0 to `steps`.
  static RealSteps of_lengths(const Index* lengths, Index batch, Index steps, bool go_backwards = false);

  // The steps where the mask (B,T) is true; elsewhere outputs repeat the row's last state, or are zeros.
  static RealSteps of_mask(const Sequence<const bool>& mask, Index batch, Index steps, bool repeat = true);

  bool all() const { return steps_ == nullptr; }
  Timeline timeline(Index steps) const;

  // y (B,T,R) where no step is real: the state that the row has there (h0, zeros where it is null), or zeros.
  template <class T>
  void fill_outputs(T* y, const T* h0, Index batch, Index steps, Index outputs) const;

  // The opposite direction: for real steps, the gradient of all outputs that repeat them, in `sums` (B,T,R);
  // the sum of those that repeat h0 is added to dh0 (B,R).
  template <class T>
  void gather_gradients(const Sequence<const T>& dy, T* sums, T* dh0, Index batch, Index steps,
                        Index outputs) const;

  // Whether gather_gradients does anything.
  bool repeats() const { return repeats_; }

  // Steps of a (B,T,features) array that are not real become zero.
  template <class T>
  void clear_others(const Sequence<T>& out, Index batch, Index steps, Index features) const;

 private:
  struct Steps {
    Buffer<Index> lengths;       // (B) real steps
    Buffer<std::int32_t> times;  // (B,T) where they are, or none: on the left
  };
  // Keeps `steps`, unless all are real.
  RealSteps(Steps steps, Index batch, Index total, bool left, bool repeat);

  // Calls body(t, real steps of row b up to and with t) for all steps of a row that are not real.
  template <class Body>
  void for_each_other(Index b, Index steps, const Body& body) const;

  std::shared_ptr<const Steps> steps_;
  bool repeats_ = false;  // outputs repeat the state where no step is real
};

}  // namespace fusedlstm
