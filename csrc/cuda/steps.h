// Finds the real steps of each row on the device, and moves sequences between two orders: of time, which
// callers have, and of real steps, counted by s and moved to the front of their row, which the kernels of
// sequences have (sequence.h). T is a number type of 4, 8 or 16-bit numbers; arrays lie in device memory.
#pragma once

#include <cstdint>

#include "../lstm.h"
#include "stream.h"

namespace fusedlstm::cuda {

// Row b has lengths[b] real steps. The s-th one happens at time times[b * steps + s], which is not set from
// the length on; with the one at time t, the row has had counts[b * steps + t].
struct RealSteps {
  Index batch;
  Index steps;
  const Index* lengths;        // (B), or null: every step is real
  const std::int32_t* times;   // (B,T), or null: s, padding is on the right
  const std::int32_t* counts;  // (B,T), null where times is
};

struct FoundSteps {
  Index* lengths;        // (B)
  std::int32_t* times;   // (B,T)
  std::int32_t* counts;  // (B,T)
};

// From a mask (B,T) of zeros and ones.
void find_masked_steps(Index batch, Index steps, const std::uint8_t* mask, const FoundSteps& found,
                       cudaStream_t stream);
// From lengths (B), with the padding on the left.
void find_last_steps(Index batch, Index steps, const Index* lengths, const FoundSteps& found,
                     cudaStream_t stream);

// to (B,T,features): the real steps of `from`, and zeros beyond.
template <class T>
void gather_steps(const RealSteps& real, Index features, const Sequence<const T>& from, T* to,
                  cudaStream_t stream);

// The opposite. Steps that are not real become zeros, or with `repeats`, which needs times, the real step
// before them, and `first` (B,features), or zeros where it is null, before the first one.
template <class T>
void spread_steps(const RealSteps& real, Index features, const T* from, bool repeats, const T* first,
                  const Sequence<T>& to, cudaStream_t stream);

// The gradient of spread_steps with `repeats`: sums (B,T,features) of what repeats each real step, in the
// order of time, zero beyond, and that of what repeats `first` (B,features).
template <class T>
void sum_repeats(const RealSteps& real, Index features, const Sequence<const T>& from, T* sums, T* first,
                 cudaStream_t stream);

// (B,T,features): what the recurrent product of each real step has read, the states y (B,T,features) of the
// step before and h0, null for zeros, times `factors` (B,features), null for ones; zeros beyond.
template <class T>
void previous_states(const RealSteps& real, Index features, const T* h0, const T* y, const T* factors,
                     T* previous, cudaStream_t stream);

}  // namespace fusedlstm::cuda
