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
  // hidden states after the last step to h_last (B,R).
  KernelRun forward(const LstmPanels<T>& panels, ForwardProblem<T> problem, T* h_last);

  // The problem as for run_backward, with sizes, timeline, x, h0, and all gradients, but neither tape nor h
  // nor m.
  KernelRun backward(const LstmPanels<T>& panels, BackwardProblem<T> problem) const;

  // The size of the states that are kept between the two.
  Index bytes() const { return states_size() * static_cast<Index>(sizeof(T)); }

 private:
  Index window_size() const { return sizes_.batch * (sizes_.outputs + sizes_.units); }
  Index states_size() const { return windows_ * window_size(); }
  T* h(Index window) const { return states_.data() + window * window_size(); }
  T* c(Index window) const { return h(window) + sizes_.batch * sizes_.outputs; }
  Timeline window_of(const Timeline& sequence, Index window) const;

  Sizes sizes_;
  Index every_;
  Index windows_;
  Buffer<T> states_;  // of each window, h (B,R) and c (B,H) before it
};

}  // namespace fusedlstm
