// Layer normalization on the team.
#pragma once

#include "dispatch.h"
#include "kernel_run.h"

namespace fusedlstm {

// y of the problem, or dx and the sums over all rows that are dgamma and dbeta (features).
template <class T>
KernelRun run_layer_norm(LayerNormProblem<T> problem);
template <class T>
KernelRun run_layer_norm_gradients(LayerNormProblem<T> problem, T* dgamma, T* dbeta);

}  // namespace fusedlstm
