#include "layer_norm.h"

#include <algorithm>

#include "buffer.h"
#include "parallel.h"

namespace fusedlstm {
namespace {

// Rows without features are none.
template <class T>
Index rows_of(const LayerNormProblem<T>& problem) {
  return problem.features > 0 ? problem.rows : 0;
}

// Reading a row, three passes over it in cache and writing it cost about as much as two element-wise kernels.
Index rows_per_thread(Index features) { return elementwise_grain / (2 * features + 1) + 1; }

}  // namespace

template <class T>
KernelRun run_layer_norm(LayerNormProblem<T> problem) {
  const KernelSet& set = kernels();
  const int threads = parallel(rows_of(problem), rows_per_thread(problem.features),
                               [&](Range rows) { set.of<T>().layer_norm(problem, rows); });
  return {"layer_norm_forward", set.name, sizeof(T) == sizeof(double), threads, false};
}

template <class T>
KernelRun run_layer_norm_gradients(LayerNormProblem<T> problem, T* dgamma, T* dbeta) {
  const KernelSet& set = kernels();
  const Index N = problem.features;
  // Blocks depend on the number of rows alone, so that sums have one order for any number of threads.
  constexpr Index least_rows = 16;
  constexpr Index most_blocks = 64;
  problem.rows = rows_of(problem);
  problem.block = std::max(least_rows, (problem.rows + most_blocks - 1) / most_blocks);
  const Index blocks = (problem.rows + problem.block - 1) / problem.block;
  const Buffer<T> partial(blocks * 2 * N);
  problem.partial = partial.data();
  const int threads = parallel(blocks, rows_per_thread(N) / problem.block + 1,
                               [&](Range range) { set.of<T>().layer_norm_gradients(problem, range); });
  set.of<T>().add_rows({0, N}, blocks, 2 * N, partial.data(), dgamma);
  set.of<T>().add_rows({0, N}, blocks, 2 * N, partial.data() + N, dbeta);
  return {"layer_norm_backward", set.name, sizeof(T) == sizeof(double), threads, false};
}

template KernelRun run_layer_norm(LayerNormProblem<float>);
template KernelRun run_layer_norm(LayerNormProblem<double>);
template KernelRun run_layer_norm_gradients(LayerNormProblem<float>, float*, float*);
template KernelRun run_layer_norm_gradients(LayerNormProblem<double>, double*, double*);

}  // namespace fusedlstm
