// Rows of a table by their numbers, and the sums that come back to them, on the team.
#pragma once

#include "../lstm.h"
#include "kernel_run.h"

namespace fusedlstm {

// y (count, features) = rows `ids` of table (rows, features). Ids are in range.
template <class T>
KernelRun run_gather(const Index* ids, Index count, Index features, const T* table, T* y);

// dtable (rows, features): row r is the sum of the rows n of dy (count, features) with ids[n] = r, in the
// order of n.
template <class T>
KernelRun run_scatter(const Index* ids, Index count, Index features, Index rows, const T* dy, T* dtable);

}  // namespace fusedlstm
