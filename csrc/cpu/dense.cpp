#include "dense.h"

#include <algorithm>

#include "buffer.h"
#include "parallel.h"

namespace fusedlstm {
namespace {

// Operations below which one thread is faster.
constexpr Index dense_grain = 400'000;

// Kernel element (k,n) lies at kernel[k * row_stride + n * column_stride].
template <class T>
KernelRun multiply(Index rows, Index inputs, Index outputs, const T* x, Index x_stride, const T* kernel,
                   Index row_stride, Index column_stride, const T* bias, T* y) {
  const KernelSet& set = kernels();
  const Kernels<T>& table = set.of<T>();
  const Index columns = table.columns();
  const Index panels = (outputs + columns - 1) / columns;
  const Buffer<T> packed(panels * columns * inputs);
  parallel_panels(panels, inputs, columns, [&](Index panel, Range range) {
    table.pack_matrix(kernel, row_stride, column_stride, inputs, outputs, panel, range, packed.data());
  });
  const DenseProblem<T> problem{rows, inputs, outputs, x, x_stride, packed.data(), bias, y};
  const Index grain = dense_grain / std::max<Index>(2 * inputs * outputs, 1) + table.tile_rows;
  const Buffer<T> partial(rows * columns);
  TeamLease team({.threads = static_cast<int>(std::clamp<Index>(rows / grain, 1, num_threads()))});
  team.run([&](Worker& worker) {
    worker.phase(team.count(), [&](int share) {
      Worker alone = Worker::alone(worker);
      const Range range = share_of(rows, share, team.count());
      table.dense(problem, range, partial.data() + range.begin * columns, alone);
    });
  });
  return {"dense_forward", set.name, sizeof(T) == sizeof(double), team.count(), false};
}

}  // namespace

template <class T>
KernelRun run_dense(const DenseOperands<T>& p, const T* bias, T* y) {
  return multiply(p.rows, p.inputs, p.outputs, p.x, p.x_stride, p.kernel, p.kernel_stride, Index{1}, bias, y);
}

template <class T>
KernelRun run_dense_gradients(const DenseOperands<T>& p, const T* dy, T* dx, T* dkernel, T* dbias) {
  const auto [rows, inputs, outputs, x, x_stride, kernel, kernel_stride] = p;
  if (dx != nullptr) {
    multiply<T>(rows, outputs, inputs, dy, outputs, kernel, Index{1}, kernel_stride, nullptr, dx);
  }
  const KernelSet& set = kernels();
  const Kernels<T>& table = set.of<T>();
  const Index columns = table.columns();
  WeightGradientProblem<T> problem{};
  problem.batch = rows;
  problem.rows = {0, rows};
  problem.timeline = Timeline::whole(1, nullptr);
  problem.columns = outputs;
  problem.units = 0;
  problem.right = dy;
  problem.left[0] = {{{x, x_stride, 0}, Slots::steps}, inputs, 0, nullptr, dkernel};
  problem.left_count = 1;
  problem.bias = dbias;
  const Index tiles = (inputs + table.tile_rows - 1) / table.tile_rows;
  const Index panels = (outputs + columns - 1) / columns;
  // Every thread packs all of the operand whose tiles or panels are not shared out.
  const bool by_panels = outputs > inputs;
  const Index parts = by_panels ? panels : tiles;
  const Index operations = 2 * rows * (by_panels ? inputs * columns : outputs * table.tile_rows);
  const Index grain = dense_grain / std::max<Index>(operations, 1) + 1;
  TeamLease team({.threads = static_cast<int>(std::clamp<Index>(parts / grain, 1, num_threads()))});
  const Index most_tiles = by_panels ? tiles : tiles / team.count() + 1;
  const Index each = (most_tiles * table.tile_rows * table.group + columns) * table.block;
  const Buffer<T> scratch(each * team.count());
  team.run([&](Worker& worker) {
    worker.phase(team.count(), [&](int share) {
      Worker alone = Worker::alone(worker);
      const Range own = share_of(panels, share, team.count());
      const GradientShare part = by_panels
                                     ? GradientShare{{0, tiles}, own, own}
                                     : GradientShare{share_of(tiles, share, team.count()), {0, panels}, own};
      table.weight_gradients(problem, part, scratch.data() + worker.id() * each, alone);
    });
  });
  return {"dense_backward", set.name, sizeof(T) == sizeof(double), team.count(), false};
}

#define FUSEDLSTM_INSTANTIATE(T)                                       \
  template KernelRun run_dense(const DenseOperands<T>&, const T*, T*); \
  template KernelRun run_dense_gradients(const DenseOperands<T>&, const T*, T*, T*, T*);
FUSEDLSTM_INSTANTIATE(float)
FUSEDLSTM_INSTANTIATE(double)
#undef FUSEDLSTM_INSTANTIATE

}  // namespace fusedlstm
