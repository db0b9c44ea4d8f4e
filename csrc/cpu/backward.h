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

// Gate gradients of one row and one vector of units at step s, in place on the tape, from dh in a register.
template <class T, class Lanes>
[[gnu::always_inline]] inline void finish_gradients(const BackwardProblem<T>& p, Vec<T> dh, Index b, Index s,
                                                    Index unit, Lanes lanes) {
  using V = Vec<T>;
  const Index B = p.sizes.batch;
  const Index H = p.sizes.units;
  T* tape = p.gates + (s * B + b) * 4 * H + unit;
  T* dc = p.dc + b * H + unit;
  const V c_prev = V::load(p.cells + (s * B + b) * H + unit, lanes);
  const V c = V::load(p.cells + ((s + 1) * B + b) * H + unit, lanes);
  const Gates<V> gates{V::load(tape, lanes), V::load(tape + H, lanes), V::load(tape + 2 * H, lanes),
                       V::load(tape + 3 * H, lanes)};
  const CellGradients<V> d = cell_backward(gates, c_prev, c, dh, V::load(dc, lanes));
  d.z.i.store(tape, lanes);
  d.z.f.store(tape + H, lanes);
  d.z.g.store(tape + 2 * H, lanes);
  d.z.o.store(tape + 3 * H, lanes);
  d.c_prev.store(dc, lanes);
}

// dh_s = dy_s + dG_{s+1} U^T and the cell's gradients run as one product with an epilogue, step by step from
// the end; dx = dG W^T follows for `chunk` steps at once while their gate gradients are in cache.
template <class T>
void backward(const BackwardProblem<T>& p, const SequenceShare& share, T* scratch, const Worker& worker) {
  using V = Vec<T>;
  const FlushDenormals flush;
  const Index B = p.sizes.batch;
  const Index H = p.sizes.units;
  const Index G = 4 * H;
  constexpr Index columns = Tile<T>::columns;
  // Where the chunk's gate gradients and dx lie, and sums that wait between blocks of K.
  const Index most_rows = share.chunk * share.row_block;
  const T** gate_rows = reinterpret_cast<const T**>(scratch);
  T** dx_rows = reinterpret_cast<T**>(scratch + 2 * most_rows);
  T* partial = scratch + divide_up(4 * most_rows, 16) * 16;

  const auto gates_of = [&](Index b, Index s) FUSEDLSTM_INLINE -> const T* {
    return (s < p.timeline.steps ? p.gates + s * B * G : p.next_gates) + b * G;
  };
  const auto store_row = [](const T* sums, Index panel, Index count, T* out) FUSEDLSTM_INLINE {
    for_each_vector<T>(panel, count, [&](int j, Index column, auto lanes) FUSEDLSTM_INLINE {
      V::load(sums + j * V::width).store(out + column, lanes);
    });
  };
  const auto from_zero = [](Index, Index) FUSEDLSTM_INLINE { return zeros<T>(); };

  for (Index row0 = 0; row0 < share.row_count; row0 += share.row_block) {
    const Index* rows = share.rows + row0;
    const Index all_rows = smaller(share.row_block, share.row_count - row0);
    const Index longest = p.timeline.length(rows[0]);
    Index later = 0;    // rows that have a step after s
    Index active = 0;   // rows that have step s
    Index waiting = 0;  // rows whose dx is due, from the steps of this chunk
    while (later < all_rows && p.timeline.goes_on(rows[later])) ++later;

    for (Index s = longest - 1; s >= 0; --s) {
      while (active < all_rows && p.timeline.length(rows[active]) > s) ++active;

      // Rows [later, active) have their last step here: nothing comes back to them but dh.
      const auto run_step = [&](Range range, bool last) FUSEDLSTM_INLINE {
        const Index* own = rows + range.begin;
        multiply(
            range.size(), last ? 0 : G,
            [&](Index r) FUSEDLSTM_INLINE -> const T* { return gates_of(own[r], last ? s : s + 1); },
            p.weights.recurrent, share.panels, partial, from_zero,
            [&]<int R>(TileRows<R>, Index first, Index panel, const T* sums) FUSEDLSTM_INLINE {
              for (int r = 0; r < R; ++r) {
                const Index b = own[first + r];
                const T* dy = p.dy ? p.dy.at(b, p.timeline.time(b, s)) : nullptr;
                for_each_vector<T>(panel, H, [&](int j, Index unit, auto lanes) FUSEDLSTM_INLINE {
                  V dh = V::load(sums + r * columns + j * V::width);
                  if (dy != nullptr) dh = dh + V::load(dy + unit, lanes);
                  if (last && p.dh != nullptr) dh = dh + V::load(p.dh + b * H + unit, lanes);
                  finish_gradients(p, dh, b, s, unit, lanes);
                });
              }
            });
      };
      if (later > 0) run_step({0, later}, false);
      if (active > later) run_step({later, active}, true);
      later = active;
      if (share.together) worker.wait();

      if (p.dx) {
        for (Index r = 0; r < active; ++r, ++waiting) {
          gate_rows[waiting] = gates_of(rows[r], s);
          dx_rows[waiting] = p.dx.at(rows[r], p.timeline.time(rows[r], s));
        }
        if (s % share.chunk == 0) {
          multiply(
              waiting, G, [&](Index r) FUSEDLSTM_INLINE { return gate_rows[r]; }, p.weights.input,
              share.input_panels, partial, from_zero,
              [&]<int R>(TileRows<R>, Index first, Index panel, const T* sums) FUSEDLSTM_INLINE {
                for (int r = 0; r < R; ++r) {
                  store_row(sums + r * columns, panel, p.sizes.inputs, dx_rows[first + r]);
                }
              });
          waiting = 0;
        }
      }
    }

    if (p.dh0 == nullptr) continue;
    // Rows without any step pass dh on as it is.
    const auto finish_state = [&](Range range, bool empty) FUSEDLSTM_INLINE {
      const Index* own = rows + range.begin;
      multiply(
          range.size(), empty ? 0 : G,
          [&](Index r) FUSEDLSTM_INLINE -> const T* { return gates_of(own[r], 0); }, p.weights.recurrent,
          share.panels, partial, from_zero,
          [&]<int R>(TileRows<R>, Index first, Index panel, const T* sums) FUSEDLSTM_INLINE {
            for (int r = 0; r < R; ++r) {
              const Index b = own[first + r];
              for_each_vector<T>(panel, H, [&](int j, Index unit, auto lanes) FUSEDLSTM_INLINE {
                V dh = V::load(sums + r * columns + j * V::width);
                if (empty && p.dh != nullptr) dh = V::load(p.dh + b * H + unit, lanes);
                dh.store(p.dh0 + b * H + unit, lanes);
              });
            }
          });
    };
    if (active > 0) finish_state({0, active}, false);
    if (all_rows > active) finish_state({active, all_rows}, true);
  }
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
