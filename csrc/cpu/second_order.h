// Tangents and second derivatives as the bindings call them.
#pragma once

#include <memory>

#include "lstm.h"

namespace fusedlstm {

// Along which direction: arrays like the arguments of forward, null where they do not move. Kernels' rows lie
// `stride` apart.
template <class T>
struct Direction {
  Sequence<const T> x;
  const T* kernel;
  Index kernel_stride;
  const T* recurrent_kernel;
  Index recurrent_stride;
  const T* bias;
  const T* h0;
  const T* c0;
  const T* peepholes;
};

// A direction, packed for the kernels of the weights that it belongs to.
template <class T>
class DirectionPanels {
 public:
  DirectionPanels(const LstmPanels<T>& weights, const Direction<T>& direction);

  // Panels for the tangents; the bias's are always there, zeros where it does not move.
  GatePanels<T> gates() const;
  // Panels for their way back, null where a kernel does not move.
  TransposedPanels<T> transposed(TeamLease& team) const;
  const T* zeros() const { return zeros_.data(); }

 private:
  bool kernel_;
  bool recurrent_kernel_;
  Buffer<T> zeros_;  // for four rows of the gates
  std::unique_ptr<const LstmPanels<T>> panels_;
};

// Fills in the direction's panels and the dropped initial states, and runs the problem.
template <class T>
KernelRun run_tangents(const LstmPanels<T>& panels, const DirectionPanels<T>& direction,
                       TangentProblem<T> problem);

// Fills in all panels, dy and the dropped initial states, runs the problem, and computes the tangents of the
// weights' gradients.
template <class T>
KernelRun run_second_backward(const LstmPanels<T>& panels, const DirectionPanels<T>& direction,
                              SecondProblem<T> problem);

}  // namespace fusedlstm
