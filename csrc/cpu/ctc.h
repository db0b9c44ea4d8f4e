// The CTC loss and its gradient on the team.
#pragma once

#include "dispatch.h"
#include "kernel_run.h"

namespace fusedlstm {

// The losses of the problem's rows, and its gradient unless that is null. Labels are in [0, C) and not the
// blank, lengths within T and the most labels.
template <class T>
KernelRun run_ctc(const CtcProblem<T>& problem, Index batch);

}  // namespace fusedlstm
