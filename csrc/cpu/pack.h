// Weight panels. A panel is read front to back exactly once per tile of rows, so it is laid out in the order
// in which the register tile wants it.
#pragma once

#include "gemm.h"

namespace fusedlstm::FUSEDLSTM_ISA {

// (K,G) in Keras's layout to (panels, K, 4, width).
template <class T>
void pack_gates(const T* source, Index row_stride, Index K, Index units, Range range, T* panels) {
  using V = Vec<T>;
  for (Index panel = range.begin; panel < range.end; ++panel) {
    const Index unit = panel * V::width;
    T* out = panels + panel * K * Tile<T>::columns;
    for (Index k = 0; k < K; ++k) {
      for (Index gate = 0; gate < 4; ++gate, out += V::width) {
        V::load(source + k * row_stride + gate * units + unit, units - unit).store(out);
      }
    }
  }
}

// (panels, K, 4, width) to (panels', G, 4 width): the transpose, as panels of K columns. Rows keep the order
// i, f, g, o of a row of gate gradients, which is what they will be multiplied with.
template <class T>
void transpose_gates(const T* gate_panels, Index K, Index units, Range range, T* panels) {
  using V = Vec<T>;
  constexpr Index columns = Tile<T>::columns;
  for (Index panel = range.begin; panel < range.end; ++panel) {
    const Index first = panel * columns;
    const Index count = smaller(columns, K - first);
    T* out = panels + panel * 4 * units * columns;
    for (Index gate = 0; gate < 4; ++gate) {
      for (Index unit = 0; unit < units; ++unit, out += columns) {
        const T* in =
            gate_panels + ((unit / V::width) * K + first) * columns + gate * V::width + unit % V::width;
        for (Index j = 0; j < count; ++j) out[j] = in[j * columns];
        for (Index j = count; j < columns; ++j) out[j] = T(0);
      }
    }
  }
}

// Any (K,N) matrix to (panels, K, 4 width).
template <class T>
void pack_matrix(const T* source, Index row_stride, Index column_stride, Index K, Index N, T* panels) {
  constexpr Index columns = Tile<T>::columns;
  for (Index first = 0; first < N; first += columns) {
    const Index count = smaller(columns, N - first);
    for (Index k = 0; k < K; ++k, panels += columns) {
      const T* in = source + k * row_stride + first * column_stride;
      for (Index j = 0; j < count; ++j) panels[j] = in[j * column_stride];
      for (Index j = count; j < columns; ++j) panels[j] = T(0);
    }
  }
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
