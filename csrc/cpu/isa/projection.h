// LSTMP (Sak, Senior and Beaufays 2014): h = m projection, where m = o tanh(c). A step is two products then.
#pragma once

#include "../kernels.h"
#include "gemm.h"
#include "hidden.h"
#include "rounding.h"

namespace fusedlstm::FUSEDLSTM_ISA {

// Forward, once all of the step's m is there.
template <class T, class W>
[[gnu::noinline]] void project(const ForwardProblem<T>& p, const GatePanels<T, W>& weights,
                               const PanelOrder& order, const Index* rows, Index count, Index s, T* partial,
                               [[maybe_unused]] const typename Rounding<W>::Rows& rounded,
                               [[maybe_unused]] typename Rounding<W>::Unit& unit) {
  using V = Vec<T>;
  constexpr Index columns = Tile<T>::columns;
  const Index H = p.sizes.units;
  alignas(64) T finished[most_tile_rows<T, W> * columns];
  const auto m_row = [&](Index r) FUSEDLSTM_INLINE -> const T* { return p.m.at(p.timeline, rows[r], s); };
  const auto to_finished = [&](Index, Index, Index tile)
                               FUSEDLSTM_INLINE { return finished + tile * columns; };
  const auto finish = [&](Index first, Index panel, Index tile_rows, T* sums) FUSEDLSTM_INLINE {
    for (Index r = 0; r < tile_rows; ++r, sums += columns) {
      for_each_vector<T>(panel, p.sizes.outputs, [&](int j, Index column, auto lanes) FUSEDLSTM_INLINE {
        store_hidden<true>(p, V::load(sums + j * V::width), rows[first + r], s, column, lanes);
      });
    }
  };
  const auto from_zero = [](Index, Index) FUSEDLSTM_INLINE { return zeros<T>(); };
  if constexpr (row_multiple<W> > 1) {
    round_rows(count, H, m_row, rounded);
    multiply_rounded(unit, count, H, rounded, weights.projection, weights.projection_scale, order, from_zero,
                     to_finished, finish);
  } else {
    multiply(count, H, whole_rows(H, m_row), weights.projection, order, partial, from_zero, to_finished,
             finish);
  }
}

// The epilogue of a tile of dh where h is a projection: it is kept, to become dm = dh projection^T and the
// projection's gradient.
template <class T>
[[gnu::noinline]] void keep_hidden_gradients(const BackwardProblem<T>& p, const T* sums, const Index* rows,
                                             Index count, Index s, Index panel, bool last) {
  using V = Vec<T>;
  const Index R = p.sizes.outputs;
  for (Index r = 0; r < count; ++r, sums += Tile<T>::columns) {
    const Index b = rows[r];
    const HiddenGradient<true, T> hidden(p, b, s, last);
    T* out = p.dprojected + (s * p.sizes.batch + b) * R;
    for_each_vector<T>(panel, R, [&](int j, Index column, auto lanes) FUSEDLSTM_INLINE {
      hidden(V::load(sums + j * V::width), column, lanes).store(out + column, lanes);
    });
  }
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
