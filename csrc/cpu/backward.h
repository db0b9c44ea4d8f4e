// The sequence, backward through time: one thread's share.
#pragma once

#include "../cell.h"
#include "denormals.h"
#include "gemm.h"
#include "kernels.h"
#include "vec_math.h"

namespace fusedlstm::FUSEDLSTM_ISA {

// A tile's column of one vector, j, clipped to `count` columns: calls body(column, lanes).
template <class T, class Body>
[[gnu::always_inline]] inline void for_each_vector(Index panel, Index count, const Body& body) {
  using V = Vec<T>;
  for (int j = 0; j < Tile<T>::vectors; ++j) {
    const Index column = panel * Tile<T>::columns + j * V::width;
    if (column + V::width <= count) {
      body(j, column, AllLanes{});
    } else if (column < count) {
      body(j, column, count - column);
    }
  }
}

// Gate gradients of one row and one vector of units, in place on the tape, from dh_t in a register.
template <class T, class Lanes>
[[gnu::always_inline]] inline void finish_gradients(const BackwardProblem<T>& p, Vec<T> dh, Index b, Index t,
                                                    Index unit, Lanes lanes) {
  using V = Vec<T>;
  const Index B = p.sizes.batch;
  const Index H = p.sizes.units;
  T* tape = p.gates + (t * B + b) * 4 * H + unit;
  T* dc = p.dc + b * H + unit;
  const V c_prev = V::load(p.cells + (t * B + b) * H + unit, lanes);
  const V c = V::load(p.cells + ((t + 1) * B + b) * H + unit, lanes);
  const Gates<V> gates{V::load(tape, lanes), V::load(tape + H, lanes), V::load(tape + 2 * H, lanes),
                       V::load(tape + 3 * H, lanes)};
  const CellGradients<V> d = cell_backward(gates, c_prev, c, dh, V::load(dc, lanes));
  d.z.i.store(tape, lanes);
  d.z.f.store(tape + H, lanes);
  d.z.g.store(tape + 2 * H, lanes);
  d.z.o.store(tape + 3 * H, lanes);
  d.c_prev.store(dc, lanes);
}

// dh_t = dy_t + dG_{t+1} U^T and the cell's gradients run as one product with an epilogue, step by step from
// the end; dx = dG W^T follows for `chunk` steps at once while their gate gradients are in cache.
template <class T>
void backward(const BackwardProblem<T>& p, const SequenceShare& share, T* scratch, const Worker& worker) {
  using V = Vec<T>;
  const FlushDenormals flush;
  const Index B = p.sizes.batch;
  const Index steps = p.sizes.steps;
  const Index H = p.sizes.units;
  const Index G = 4 * H;

  const auto store_rows = [](auto& acc, Index panel, Index count, const auto& row) FUSEDLSTM_INLINE {
    for (int r = 0; const auto& vectors : acc) {
      T* out = row(r++);
      for_each_vector<T>(panel, count,
                         [&](int j, Index column, auto lanes) { vectors[j].store(out + column, lanes); });
    }
  };

  for (Index row0 = share.rows.begin; row0 < share.rows.end; row0 += share.row_block) {
    const Index rows = smaller(share.row_block, share.rows.end - row0);
    const auto gate_row = [&](Index r, Index t) { return p.gates + (t * B + row0 + r) * G; };

    for (Index t = steps - 1; t >= 0; --t) {
      const bool last = t == steps - 1;
      multiply(
          rows, last ? 0 : G, [&](Index r) -> const T* { return gate_row(r, last ? t : t + 1); },
          p.weights.recurrent, share.panels, scratch,
          [&]<int R>(Accumulators<T, R>& acc, Index first, Index panel) FUSEDLSTM_INLINE {
            clear_tile<T, R>(acc);
            for (int r = 0; r < R; ++r) {
              const Index b = row0 + first + r;
              for_each_vector<T>(panel, H, [&](int j, Index unit, auto lanes) FUSEDLSTM_INLINE {
                if (p.dy) acc[r][j] = V::load(p.dy.at(b, t) + unit, lanes);
                if (last && p.dh != nullptr) acc[r][j] = acc[r][j] + V::load(p.dh + b * H + unit, lanes);
              });
            }
          },
          [&]<int R>(const Accumulators<T, R>& acc, Index first, Index panel) FUSEDLSTM_INLINE {
            for (int r = 0; r < R; ++r) {
              for_each_vector<T>(panel, H, [&](int j, Index unit, auto lanes) FUSEDLSTM_INLINE {
                finish_gradients(p, acc[r][j], row0 + first + r, t, unit, lanes);
              });
            }
          });
      if (share.together) worker.wait();

      if (p.dx && t % share.chunk == 0) {
        const Index chunk = smaller(share.chunk, steps - t);
        const auto split = [&](Index r, const auto& use) FUSEDLSTM_INLINE {
          return chunk == 1 ? use(r, t) : use(r % rows, t + r / rows);
        };
        multiply(
            chunk * rows, G, [&](Index r) -> const T* { return split(r, gate_row); }, p.weights.input,
            share.input_panels, scratch,
            [&]<int R>(Accumulators<T, R>& acc, Index, Index) { clear_tile<T, R>(acc); },
            [&]<int R>(const Accumulators<T, R>& acc, Index first, Index panel) FUSEDLSTM_INLINE {
              store_rows(acc, panel, p.sizes.inputs, [&](int r) FUSEDLSTM_INLINE {
                return split(first + r, [&](Index b, Index step) { return p.dx.at(row0 + b, step); });
              });
            });
      }
    }

    if (p.dh0 != nullptr) {
      multiply(
          rows, steps > 0 ? G : 0, [&](Index r) -> const T* { return gate_row(r, 0); }, p.weights.recurrent,
          share.panels, scratch,
          [&]<int R>(Accumulators<T, R>& acc, Index first, Index panel) FUSEDLSTM_INLINE {
            clear_tile<T, R>(acc);
            if (steps > 0 || p.dh == nullptr) return;
            for (int r = 0; r < R; ++r) {
              for_each_vector<T>(panel, H, [&](int j, Index unit, auto lanes) FUSEDLSTM_INLINE {
                acc[r][j] = V::load(p.dh + (row0 + first + r) * H + unit, lanes);
              });
            }
          },
          [&]<int R>(const Accumulators<T, R>& acc, Index first, Index panel) FUSEDLSTM_INLINE {
            store_rows(acc, panel, H, [&](int r) { return p.dh0 + (row0 + first + r) * H; });
          });
    }
  }
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
