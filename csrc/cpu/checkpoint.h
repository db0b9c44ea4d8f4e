// Long sequences with little memory: forward keeps only the states before every `every` steps, and backward
// runs each window's forward pass again. Gradients have the same bits as with a whole tape.
#pragma once

#include "lstm.h"

namespace fusedlstm {

template <class T>
class Checkpoints {
 public:
  // `every` is rounded up to a multiple of the steps that weight gradients sum as one block.
  Checkpoints(const LstmPanels<T>& panels, const Sizes& sizes, Index every);

  // The problem as for run_forward, without a tape: cells in place in one (B,H) buffer. Also writes the
  // hidden states after the last step to h_last (B,H).
  KernelRun forward(const LstmPanels<T>& panels, ForwardProblem<T> problem, T* h_last);

  // The problem as for run_backward, with sizes, timeline, x, h0, and all gradients, but neither tape nor h.
  KernelRun backward(const LstmPanels<T>& panels, BackwardProblem<T> problem) const;

  // What is kept between the two.
  Index bytes() const { return states_size() * static_cast<Index>(sizeof(T)); }

 private:
  Index states_size() const { return windows_ * 2 * sizes_.batch * sizes_.units; }
  T* h(Index window) const { return states_.data() + window * 2 * sizes_.batch * sizes_.units; }
  T* c(Index window) const { return h(window) + sizes_.batch * sizes_.units; }
  Timeline window_of(const Timeline& whole, Index window) const;

  Sizes sizes_;
  Index every_;
  Index windows_;
  Buffer<T> states_;  // (windows, 2, B, H): h and c before each
};

}  // namespace fusedlstm
