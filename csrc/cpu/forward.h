// The sequence, forward: one thread's share.
#pragma once

#include "../cell.h"
#include "denormals.h"
#include "gemm.h"
#include "kernels.h"
#include "vec_math.h"

namespace fusedlstm::FUSEDLSTM_ISA {

// The tile's epilogue: pre-activations of R rows in registers to h_t, c_t and, on tape, gates.
template <int R, class T, class Lanes>
[[gnu::always_inline]] inline void finish_cells(const ForwardProblem<T>& p, const Accumulators<T, R>& z,
                                                Index row, Index t, Index unit, Lanes lanes) {
  using V = Vec<T>;
  const Index H = p.sizes.units;
  for (int r = 0; r < R; ++r) {
    const Index b = row + r;
    const T* c_prev = p.cells + t * p.cells_step + b * H + unit;
    T* c = p.cells + (t + 1) * p.cells_step + b * H + unit;
    const Gates<V> gates = activate(Gates<V>{z[r][0], z[r][1], z[r][2], z[r][3]});
    const CellState<V> state = cell_forward(gates, V::load(c_prev, lanes));
    state.c.store(c, lanes);
    state.h.store(p.h.at(b, t % p.h_slots) + unit, lanes);
    if (p.gates != nullptr) {
      T* tape = p.gates + (t * p.sizes.batch + b) * 4 * H + unit;
      gates.i.store(tape, lanes);
      gates.f.store(tape + H, lanes);
      gates.g.store(tape + 2 * H, lanes);
      gates.o.store(tape + 3 * H, lanes);
    }
  }
}

// Pre-activations start with the input's part, W x_t + b for `chunk` steps at once, so that small batches
// also fill the tile; then each step adds U h_{t-1} and runs the cell while the sums are in registers.
template <class T>
void forward(const ForwardProblem<T>& p, const SequenceShare& share, T* scratch, const Worker& worker) {
  using V = Vec<T>;
  constexpr Index columns = Tile<T>::columns;
  const FlushDenormals flush;
  const Index steps = p.sizes.steps;
  const Index I = p.sizes.inputs;
  const Index H = p.sizes.units;

  for (Index row0 = share.rows.begin; row0 < share.rows.end; row0 += share.row_block) {
    const Index rows = smaller(share.row_block, share.rows.end - row0);
    for (Index t0 = 0; t0 < steps; t0 += share.chunk) {
      const Index chunk = smaller(share.chunk, steps - t0);
      const Index projected_rows = chunk * rows;
      T* partial = scratch;
      T* projected = scratch + projected_rows * columns;  // (panels, chunk * rows, columns)
      const auto projection = [&](Index r, Index panel) FUSEDLSTM_INLINE {
        return projected + ((panel - share.panels.begin) * projected_rows + r) * columns;
      };
      const auto input_row = [&](Index r) FUSEDLSTM_INLINE {
        return chunk == 1 ? p.x.at(row0 + r, t0) : p.x.at(row0 + r % rows, t0 + r / rows);
      };
      multiply(
          projected_rows, I, input_row, p.weights.input, share.panels, partial,
          [&]<int R>(Accumulators<T, R>& acc, Index, Index panel) FUSEDLSTM_INLINE {
            for (int j = 0; j < Tile<T>::vectors; ++j) {
              const V bias = V::load(p.weights.bias + panel * columns + j * V::width);
              for (int r = 0; r < R; ++r) acc[r][j] = bias;
            }
          },
          [&]<int R>(const Accumulators<T, R>& acc, Index first, Index panel)
              FUSEDLSTM_INLINE { store_tile<T, R>(acc, projection(first, panel)); });

      for (Index t = t0; t < t0 + chunk; ++t) {
        const Index offset = (t - t0) * rows;
        // Without an initial state the first step has no recurrent part at all.
        const Index recurrent = t == 0 && p.h0 == nullptr ? 0 : H;
        const auto hidden_row = [&](Index r) FUSEDLSTM_INLINE -> const T* {
          if (t > 0) return p.h.at(row0 + r, (t - 1) % p.h_slots);
          return p.h0 != nullptr ? p.h0 + (row0 + r) * H : p.cells;
        };
        multiply(
            rows, recurrent, hidden_row, p.weights.recurrent, share.panels, partial,
            [&]<int R>(Accumulators<T, R>& acc, Index first, Index panel)
                FUSEDLSTM_INLINE { load_tile<T, R>(acc, projection(offset + first, panel)); },
            [&]<int R>(const Accumulators<T, R>& acc, Index first, Index panel) FUSEDLSTM_INLINE {
              const Index unit = panel * V::width;
              if (unit + V::width <= H) {
                finish_cells<R>(p, acc, row0 + first, t, unit, AllLanes{});
              } else {
                finish_cells<R>(p, acc, row0 + first, t, unit, H - unit);
              }
            });
        if (share.together) worker.wait();
      }
    }
  }
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
