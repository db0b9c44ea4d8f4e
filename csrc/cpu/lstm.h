// Calls of the LSTM for whole sequences, which plan, allocate scratch and run the team. Nothing here throws
// once work has begun.
#pragma once

#include "panels.h"

namespace fusedlstm {

// Fills in dropped_h0 and runs the problem.
template <class T>
KernelRun run_forward(const LstmPanels<T>& panels, ForwardProblem<T> problem);

// Fills in the problem's weights and dropped_h0, runs it, and computes the weight gradients.
template <class T>
KernelRun run_backward(const LstmPanels<T>& panels, BackwardProblem<T> problem);

}  // namespace fusedlstm
