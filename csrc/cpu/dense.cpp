#include "dense.h"

#include <algorithm>

#include "buffer.h"
#include "parallel.h"

namespace fusedlstm {
namespace {

// Operations below which one thread is faster.
constexpr Index dense_grain = 400'000;

template <class T>
KernelRun describe(const char* operation, const KernelSet& set, int threads, Compute compute) {
  KernelRun run{operation, set.name, sizeof(T) == sizeof(double), threads, false};
  if (compute == Compute::bfloat16) {
    run.storage = Storage::operands;
    run.products = products(set).name;
  }
  return run;
}

// Calls work(rows, panels, scratch, worker) on shares of the outputs, with so many numbers of scratch: of
// panels, where the kernel is larger than x, which each thread then reads all of, else of rows.
template <class T, class Work>
int share_outputs(const DenseOperands<T>& p, Index panels, Index tile_rows, Index scratch_size,
                  const Work& work) {
  const bool by_panels = p.outputs > p.rows;
  const Index parts = by_panels ? panels : p.rows;
  const Index of_part = 2 * p.inputs * (by_panels ? p.rows * (p.outputs / panels) : p.outputs);
  const Index grain = dense_grain / std::max<Index>(of_part, 1) + (by_panels ? 1 : tile_rows);
  TeamLease team({.threads = static_cast<int>(std::clamp<Index>(parts / grain, 1, num_threads()))});
  const Buffer<T> scratch(scratch_size * team.count());
  team.run([&](Worker& worker) {
    worker.phase(team.count(), [&](int share) {
      Worker alone = Worker::alone(worker);
      const Range own = share_of(parts, share, team.count());
      work(by_panels ? Range{0, p.rows} : own, by_panels ? own : Range{0, panels},
           scratch.data() + worker.id() * scratch_size, alone);
    });
  });
  return team.count();
}

// Columns of the kernel lie `column_stride` apart.
template <class T>
KernelRun multiply(const DenseOperands<T>& p, Index column_stride, const T* bias, T* y, Compute compute) {
  const KernelSet& set = kernels();
  const Kernels<T>& table = set.of<T>();
  const Index columns = table.columns();
  const Index panels = (p.outputs + columns - 1) / columns;
  if (p.outputs == 0) return describe<T>("dense_forward", set, 1, compute);  // of any number of rows
  if constexpr (sizeof(T) == sizeof(float)) {
    if (compute == Compute::bfloat16) {
      const ProductKernels& kernels_of_products = products(set).kernels;
      const OperandPieces pieces(p.inputs);
      const Buffer<BFloat16Operand> packed(panels * columns * pieces.filled(p.inputs));
      for (Index k = 0; k < p.inputs; k += pieces.depth) {
        const Index depth = std::min(pieces.depth, p.inputs - k);
        parallel(panels, elementwise_grain / (columns * depth) + 1, [&](Range range) {
          kernels_of_products.pack(p.kernel + k * p.kernel_stride, p.kernel_stride, column_stride, depth,
                                   p.outputs, range, packed.data() + panels * columns * k);
        });
      }
      const DenseProblem<T, BFloat16Operand> problem{p.rows,     p.inputs,      p.outputs, p.x,
                                                     p.x_stride, packed.data(), bias,      y};
      const int threads =
          share_outputs(p, panels, kernels_of_products.costs.tile_rows, pieces.scratch(p.rows),
                        [&](Range own_rows, Range own_panels, T* scratch, Worker& worker) {
                          kernels_of_products.dense(problem, own_rows, own_panels, scratch, worker);
                        });
      return describe<T>("dense_forward", set, threads, compute);
    }
  }
  const Buffer<T> packed(panels * columns * p.inputs);
  parallel_panels(panels, p.inputs, columns, [&](Index panel, Range range) {
    table.pack_matrix(p.kernel, p.kernel_stride, column_stride, p.inputs, p.outputs, panel, range,
                      packed.data());
  });
  const DenseProblem<T> problem{p.rows, p.inputs, p.outputs, p.x, p.x_stride, packed.data(), bias, y};
  const int threads = share_outputs(p, panels, table.tile_rows, std::min(p.rows, dense_rows) * columns,
                                    [&](Range own_rows, Range own_panels, T* scratch, Worker& worker) {
                                      table.dense(problem, own_rows, own_panels, scratch, worker);
                                    });
  return describe<T>("dense_forward", set, threads, compute);
}

}  // namespace

template <class T>
KernelRun run_dense(const DenseOperands<T>& p, const T* bias, T* y, Compute compute) {
  return multiply(p, Index{1}, bias, y, compute);
}

template <class T>
KernelRun run_dense_gradients(const DenseOperands<T>& p, const T* dy, T* dx, T* dkernel, T* dbias,
                              Compute compute) {
  const auto [rows, inputs, outputs, x, x_stride, kernel, kernel_stride] = p;
  if (dx != nullptr) {
    multiply<T>({rows, outputs, inputs, dy, outputs, kernel, Index{1}}, kernel_stride, nullptr, dx, compute);
  }
  const KernelSet& set = kernels();
  const Kernels<T>& table = set.of<T>();
  const bool operands = compute == Compute::bfloat16;
  const ProductKernels& kernels_of_products = products(set).kernels;
  const Index tile_rows = operands ? kernels_of_products.gradient_rows : table.tile_rows;
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
  const Index tiles = (inputs + tile_rows - 1) / tile_rows;
  const Index panels = (outputs + columns - 1) / columns;
  // Every thread packs all of the operand whose tiles or panels are not shared out.
  const bool by_panels = outputs > inputs;
  const Index parts = by_panels ? panels : tiles;
  const Index operations = 2 * rows * (by_panels ? inputs * columns : outputs * tile_rows);
  const Index grain = dense_grain / std::max<Index>(operations, 1) + 1;
  TeamLease team({.threads = static_cast<int>(std::clamp<Index>(parts / grain, 1, num_threads()))});
  const Index most_tiles = by_panels ? tiles : tiles / team.count() + 1;
  const Index each = (most_tiles * tile_rows * table.group + columns) * table.block;
  const Buffer<T> scratch(each * team.count());
  team.run([&](Worker& worker) {
    worker.phase(team.count(), [&](int share) {
      Worker alone = Worker::alone(worker);
      const Range own = share_of(panels, share, team.count());
      const GradientShare part = by_panels
                                     ? GradientShare{{0, tiles}, own, own}
                                     : GradientShare{share_of(tiles, share, team.count()), {0, panels}, own};
      T* own_scratch = scratch.data() + worker.id() * each;
      if constexpr (sizeof(T) == sizeof(float)) {
        if (operands) return kernels_of_products.weight_gradients(problem, part, own_scratch, alone);
      }
      table.weight_gradients(problem, part, own_scratch, alone);
    });
  });
  return describe<T>("dense_backward", set, team.count(), compute);
}

#define FUSEDLSTM_INSTANTIATE(T)                                                \
  template KernelRun run_dense(const DenseOperands<T>&, const T*, T*, Compute); \
  template KernelRun run_dense_gradients(const DenseOperands<T>&, const T*, T*, T*, T*, Compute);
FUSEDLSTM_INSTANTIATE(float)
FUSEDLSTM_INSTANTIATE(double)
#undef FUSEDLSTM_INSTANTIATE

}  // namespace fusedlstm
