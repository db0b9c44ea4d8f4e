#include "embedding.h"

#include <algorithm>

#include "dispatch.h"
#include "parallel.h"

namespace fusedlstm {

template <class T>
KernelRun run_gather(const Index* ids, Index count, Index features, const T* table, T* y) {
  const Index grain = elementwise_grain / std::max<Index>(features, 1) + 1;
  const int threads = parallel(count, grain, [&](Range range) {
    for (Index n = range.begin; n < range.end; ++n) {
      std::copy_n(table + ids[n] * features, features, y + n * features);
    }
  });
  return {"embedding_forward", kernels().name, sizeof(T) == sizeof(double), threads, false};
}

// Threads split the columns, in whole cache lines: each adds all rows in their order, however often an id
// occurs, and none waits for another.
template <class T>
KernelRun run_scatter(const Index* ids, Index count, Index features, Index rows, const T* dy, T* dtable) {
  const KernelSet& set = kernels();
  constexpr Index line = 64 / Index{sizeof(T)};
  const Index lines = (features + line - 1) / line;
  const Index grain = elementwise_grain / (line * std::max<Index>(count + rows, 1)) + 1;
  const int threads = parallel_shares(lines, grain, [&](Range range, Worker& worker) {
    const Range columns{range.begin * line, std::min(range.end * line, features)};
    // So many rows between two questions whether to go on.
    const Index most = elementwise_grain / std::max<Index>(columns.size(), 1) + 1;
    for (Index row = 0; row < rows; ++row) {
      std::fill(dtable + row * features + columns.begin, dtable + row * features + columns.end, T(0));
      if (row % most == 0 && worker.stopped(grain_operations)) return;
    }
    for (Index n = 0; n < count; n += most) {
      set.of<T>().scatter_rows(ids + n, std::min(most, count - n), features, columns, dy + n * features,
                               dtable);
      if (worker.stopped(grain_operations)) return;
    }
  });
  return {"embedding_backward", set.name, sizeof(T) == sizeof(double), threads, false};
}

#define FUSEDLSTM_INSTANTIATE(T)                                           \
  template KernelRun run_gather(const Index*, Index, Index, const T*, T*); \
  template KernelRun run_scatter(const Index*, Index, Index, Index, const T*, T*);
FUSEDLSTM_INSTANTIATE(float)
FUSEDLSTM_INSTANTIATE(double)
#undef FUSEDLSTM_INSTANTIATE

}  // namespace fusedlstm
