// The LSTM on the CPU as the bindings call it: packed weights, and one call for a whole sequence, which
// plans, allocates scratch and runs the team. Nothing here throws once work has begun.
#pragma once

#include <atomic>
#include <memory>

#include "buffer.h"
#include "dispatch.h"

namespace fusedlstm {

// What ran, for last_kernel().
struct KernelRun {
  const char* operation = nullptr;
  const char* instruction_set = nullptr;
  bool is_double = false;
  int threads = 1;
  bool units_split = false;  // else the batch is
};

// An immutable copy of one layer's weights in the panels of one instruction set. A tape keeps the copy that
// its forward pass used, so that later updates cannot disturb the backward pass.
template <class T>
class LstmPanels {
 public:
  // kernel (inputs, 4 units) and recurrent_kernel (units, 4 units) with rows `stride` apart; bias may be
  // null.
  LstmPanels(Index inputs, Index units, const T* kernel, Index kernel_stride, const T* recurrent_kernel,
             Index recurrent_stride, const T* bias);
  ~LstmPanels();
  LstmPanels(const LstmPanels&) = delete;
  LstmPanels& operator=(const LstmPanels&) = delete;

  Index inputs() const { return inputs_; }
  Index units() const { return units_; }
  const KernelSet& set() const { return *set_; }

  GatePanels<const T> gates() const;
  TransposedPanels<const T> transposed() const;  // made when first asked for

 private:
  const Kernels<T>& kernels() const { return set_->of<T>(); }

  const KernelSet* set_;
  Index inputs_;
  Index units_;
  Buffer<T> gates_;
  mutable std::atomic<T*> transposed_{nullptr};
};

// Fills in `weights` of the problem and runs it.
template <class T>
KernelRun run_forward(const LstmPanels<T>& panels, ForwardProblem<T> problem);

// Also computes the weight gradients.
template <class T>
KernelRun run_backward(const LstmPanels<T>& panels, BackwardProblem<T> problem);

}  // namespace fusedlstm
