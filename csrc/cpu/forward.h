// The sequence, forward: one thread's share.
#pragma once

#include "../cell.h"
#include "denormals.h"
#include "gemm.h"
#include "kernels.h"
#include "vec_math.h"

namespace fusedlstm::FUSEDLSTM_ISA {

// The tile's epilogue: pre-activations of R rows to h, c and, on tape, gates of step s. z(r, gate) is a
// vector of them.
template <int R, class T, class Z, class Lanes>
[[gnu::always_inline]] inline void finish_cells(const ForwardProblem<T>& p, const Z& z, const Index* rows,
                                                Index s, Index unit, Lanes lanes) {
  using V = Vec<T>;
  const Index H = p.sizes.units;
  for (int r = 0; r < R; ++r) {
    const Index b = rows[r];
    const T* c_prev = p.cells + s * p.cells_step + b * H + unit;
    T* c = p.cells + (s + 1) * p.cells_step + b * H + unit;
    const Gates<V> gates = activate(Gates<V>{z(r, 0), z(r, 1), z(r, 2), z(r, 3)});
    const CellState<V> state = cell_forward(gates, V::load(c_prev, lanes));
    state.c.store(c, lanes);
    state.h.store(p.hidden(b, s) + unit, lanes);
    if (p.gates != nullptr) {
      T* tape = p.gates + (s * p.sizes.batch + b) * 4 * H + unit;
      gates.i.store(tape, lanes);
      gates.f.store(tape + H, lanes);
      gates.g.store(tape + 2 * H, lanes);
      gates.o.store(tape + 3 * H, lanes);
    }
  }
}

// Pre-activations start with the input's part, W x + b for `chunk` steps at once, so that small batches also
// fill the tile; then each step adds U h and runs the cell while the sums are in registers. With weights of
// integers the sums start at zero and are scaled when they are complete.
template <class T, class W>
void forward(const ForwardProblem<T>& p, const GatePanels<T, W>& weights, const SequenceShare& share,
             T* scratch, const Worker& worker) {
  using V = Vec<T>;
  constexpr bool scaled = sizeof(W) == 1;
  constexpr Index columns = Tile<T>::columns;
  const FlushDenormals flush;
  const Index I = p.sizes.inputs;
  const Index H = p.sizes.units;
  // Where the chunk's inputs lie, sums that wait between blocks of K, and the projections
  // (panels, chunk rows, columns).
  const Index most_rows = share.chunk * share.row_block;
  const T** inputs = reinterpret_cast<const T**>(scratch);
  T* partial = scratch + divide_up(2 * most_rows, 16) * 16;
  T* projected = partial + most_rows * columns;

  for (Index row0 = 0; row0 < share.row_count; row0 += share.row_block) {
    const Index* rows = share.rows + row0;
    Index active = smaller(share.row_block, share.row_count - row0);
    const Index longest = p.timeline.length(rows[0]);

    for (Index s0 = 0; s0 < longest; s0 += share.chunk) {
      const Index chunk = smaller(share.chunk, longest - s0);
      Index first_of[max_chunk + 1];
      first_of[0] = 0;
      for (Index i = 0; i < chunk; ++i) {
        const Index s = s0 + i;
        while (p.timeline.length(rows[active - 1]) <= s) --active;
        for (Index r = 0; r < active; ++r) {
          inputs[first_of[i] + r] = p.x.at(rows[r], p.timeline.time(rows[r], s));
        }
        first_of[i + 1] = first_of[i] + active;
      }
      const Index total = first_of[chunk];
      const auto projection = [&](Index r, Index panel) FUSEDLSTM_INLINE {
        return projected + ((panel - share.panels.begin) * total + r) * columns;
      };
      multiply(
          total, I, [&](Index r) FUSEDLSTM_INLINE { return inputs[r]; }, weights.input, share.panels, partial,
          [&](Index, Index panel)
              FUSEDLSTM_INLINE { return scaled ? zeros<T>() : Start<T>{weights.bias + panel * columns, 0}; },
          [&]<int R>(TileRows<R>, Index first, Index panel, const T* sums) FUSEDLSTM_INLINE {
            T* out = projection(first, panel);
            for (int r = 0; r < R; ++r) {
              for (int j = 0; j < Tile<T>::vectors; ++j) {
                const Index at = j * V::width;
                V sum = V::load(sums + r * columns + at);
                if constexpr (scaled) {
                  sum = fma(sum, V::load(weights.input_scale + panel * columns + at),
                            V::load(weights.bias + panel * columns + at));
                }
                sum.store(out + r * columns + at);
              }
            }
          });

      for (Index i = 0; i < chunk; ++i) {
        const Index s = s0 + i;
        // Without an initial state the first step has no recurrent part at all.
        const Index recurrent = s == 0 && p.h0 == nullptr ? 0 : H;
        const auto hidden_row = [&](Index r) FUSEDLSTM_INLINE -> const T* {
          if (s > 0) return p.hidden(rows[r], s - 1);
          return p.h0 != nullptr ? p.h0 + rows[r] * H : p.cells;
        };
        multiply(
            first_of[i + 1] - first_of[i], recurrent, hidden_row, weights.recurrent, share.panels, partial,
            [&](Index first, Index panel) FUSEDLSTM_INLINE {
              return scaled ? zeros<T>() : Start<T>{projection(first_of[i] + first, panel), columns};
            },
            [&]<int R>(TileRows<R>, Index first, Index panel, const T* sums) FUSEDLSTM_INLINE {
              const auto z = [&](int r, int gate) FUSEDLSTM_INLINE {
                const V sum = V::load(sums + r * columns + gate * V::width);
                if constexpr (!scaled) return sum;
                const Index at = gate * V::width;
                return fma(sum, V::load(weights.recurrent_scale + panel * columns + at),
                           V::load(projection(first_of[i] + first, panel) + r * columns + at));
              };
              const Index unit = panel * V::width;
              if (unit + V::width <= H) {
                finish_cells<R>(p, z, rows + first, s, unit, AllLanes{});
              } else {
                finish_cells<R>(p, z, rows + first, s, unit, H - unit);
              }
            });
        if (share.together) worker.wait();
      }
    }
  }
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
