// The CTC loss of a batch's rows with its gradient, on the device (math/ctc.h has the equations).
#pragma once

#include "../lstm.h"
#include "stream.h"

namespace fusedlstm::cuda {

template <class T>
struct CtcLoss {
  Index batch;
  Index steps;                 // T
  Index classes;               // C
  Sequence<const T> logits;    // (B,T,C)
  const Index* labels;         // (B,L), in [0, C) and not the blank
  Index most_labels;           // L
  const Index* label_lengths;  // (B)
  const Index* logit_lengths;  // (B)
  Index blank;
  const T* weights;  // (B) factors of the rows' gradients, or null for ones
  bool zero_infinity;
  T* losses;   // (B)
  T* dlogits;  // (B,T,C) or null
  T* scratch;  // (B,ctc_scratch())
};

// Numbers for each row.
Index ctc_scratch(Index steps, Index labels, bool gradient);

// A block for each row, whose size is that of labels and classes; other than 0 `threads` are for tests.
// Throws std::invalid_argument for more labels than a block of this device has shared memory for.
template <class T>
void ctc_loss(const CtcLoss<T>& problem, int threads, cudaStream_t stream);

}  // namespace fusedlstm::cuda
