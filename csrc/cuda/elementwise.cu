#include "../math/hash.h"
#include "elementwise.h"
#include "number_types.cuh"
#include "rows.cuh"

namespace fusedlstm::cuda {
namespace {

template <class T>
__global__ void __launch_bounds__(threads_for_rows, blocks_for_rows)
    dropout_kernel(const Dropout p, const T* x, T* y) {
  using Sum = StateOf<T>;
  const Sum scale = static_cast<Sum>(p.scale);
  for_each_own_of_batch(p.batch, p.steps, p.features, [&](Index b, Index t, Index j) {
    const Index row = b * p.steps + t;
    const RunHash hash(p.seed, static_cast<std::uint64_t>(p.share_steps ? b : row));
    const Index at = row * p.features + j;
    const T kept = static_cast<T>(static_cast<Sum>(x[at]) * scale);
    y[at] = hash(static_cast<std::uint32_t>(j)) >= p.threshold ? kept : T(0.0f);
  });
}

template <class T>
__global__ void __launch_bounds__(threads_for_rows, blocks_for_rows)
    sum_rows_kernel(const Index rows, const Index features, const Index* starts, const Index* order,
                    const T* from, T* sums) {
  using Sum = StateOf<T>;
  for_each_own<1>(rows, features, [&](Index row, Index j) {
    Sum sum(0);
    for (Index k = starts[row]; k < starts[row + 1]; ++k) {
      sum += static_cast<Sum>(from[order[k] * features + j]);
    }
    sums[row * features + j] = static_cast<T>(sum);
  });
}

}  // namespace

template <class T>
void dropout(const Dropout& p, const T* x, T* y, cudaStream_t stream) {
  launch_batch("dropout", p.batch, p.steps, p.features, stream, dropout_kernel<T>, p, x, y);
}

template <class T>
void sum_rows(Index rows, Index features, const Index* starts, const Index* order, const T* from, T* sums,
              cudaStream_t stream) {
  launch_rows("sum_rows", rows, features, stream, sum_rows_kernel<T>, rows, features, starts, order, from,
              sums);
}

#define FUSEDLSTM_INSTANTIATE(T)                                     \
  template void dropout(const Dropout&, const T*, T*, cudaStream_t); \
  template void sum_rows(Index, Index, const Index*, const Index*, const T*, T*, cudaStream_t);
FUSEDLSTM_FOR_EACH_NUMBER_TYPE(FUSEDLSTM_INSTANTIATE)
#undef FUSEDLSTM_INSTANTIATE

}  // namespace fusedlstm::cuda
