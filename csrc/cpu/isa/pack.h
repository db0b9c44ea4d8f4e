// Weight panels. A panel is read front to back exactly once per tile of rows, so it is laid out in the order
// in which the register tile wants it.
#pragma once

#include "gemm.h"
#include "operands.h"

namespace fusedlstm::FUSEDLSTM_ISA {

// (K,G) in Keras's layout to (panels, K, 4, width): rows of one panel.
template <class T>
void pack_gates(const T* source, Index row_stride, Index K, Index units, Index panel, Range rows, T* panels) {
  using V = Vec<T>;
  const Index unit = panel * V::width;
  T* out = panels + (panel * K + rows.begin) * Tile<T>::columns;
  for (Index k = rows.begin; k < rows.end; ++k) {
    for (Index gate = 0; gate < kGates; ++gate, out += V::width) {
      V::load(source + k * row_stride + gate * units + unit, units - unit).store(out);
    }
  }
}

// (P, K, 4, width) to (panels', P 4 width, 4 width): the transpose, as panels of K columns.
template <class T>
void transpose_gates(const T* gate_panels, Index K, Index units, Range range, T* panels) {
  constexpr Index columns = Tile<T>::columns;
  const Index count = divide_up(units, Vec<T>::width);
  T* out = panels + range.begin * count * columns * columns;
  for (Index panel = range.begin; panel < range.end; ++panel) {
    const Index first = panel * columns;
    const Index given = smaller(columns, K - first);
    for (Index gates = 0; gates < count; ++gates) {
      const T* in = gate_panels + (gates * K + first) * columns;
      for (Index row = 0; row < columns; ++row, out += columns) {
        for (Index j = 0; j < given; ++j) out[j] = in[j * columns + row];
        for (Index j = given; j < columns; ++j) out[j] = T(0);
      }
    }
  }
}

// (panels, K, 4 width) of N columns to (panels', N, 4 width) of K columns, for panels' in `range`.
template <class T>
void transpose_panels(const T* panels, Index K, Index N, Range range, T* transposed) {
  constexpr Index columns = Tile<T>::columns;
  T* out = transposed + range.begin * N * columns;
  for (Index panel = range.begin; panel < range.end; ++panel) {
    const Index first = panel * columns;
    const Index given = smaller(columns, K - first);
    for (Index n = 0; n < N; ++n, out += columns) {
      const T* in = panels + (n / columns * K + first) * columns + n % columns;
      for (Index j = 0; j < given; ++j) out[j] = in[j * columns];
      for (Index j = given; j < columns; ++j) out[j] = T(0);
    }
  }
}

// The panels' rows, `rows` of them.
template <class T>
void round_to_bfloat16(const T* panels, Index rows, BFloat16* out) {
  constexpr Index width = Vec<T>::width;
  for (Index row = 0; row < rows; ++row, panels += Tile<T>::columns, out += Tile<T>::columns) {
    for (Index gate = 0; gate < kGates; ++gate) {
      for (Index unit = 0; unit < width; ++unit) {
        out[place_in_panel<BFloat16>(0, gate, unit, width)] = rounded(panels[gate * width + unit]);
      }
    }
  }
}

// Each column of each panel gets the factor that takes its largest weight to 127. Weights are finite.
template <class T, class W>
void round_to_int8(const T* panels, Index K, Range range, W* out, T* scale) {
  constexpr Index width = Vec<T>::width;
  constexpr Index columns = Tile<T>::columns;
  constexpr Index more = rows_of_sums<W>;
  constexpr T negligible = T(1e-36);  // below it, the factor would overflow
  const Index rows_of_weights = panel_rows<W>(K) - more;
  for (Index panel = range.begin; panel < range.end; ++panel) {
    auto* target = reinterpret_cast<std::int8_t*>(out + panel * panel_rows<W>(K) * columns);
    const T* rows = panels + panel * K * columns;
    T largest[columns] = {};
    for (Index k = 0; k < K; ++k) {
      for (Index j = 0; j < columns; ++j) {
        const T size = __builtin_fabsf(rows[k * columns + j]);
        largest[j] = size > largest[j] ? size : largest[j];
      }
    }
    T factors[columns];
    for (Index j = 0; j < columns; ++j) {
      scale[panel * columns + j] = largest[j] / T(127);
      factors[j] = largest[j] > negligible ? T(127) / largest[j] : T(0);
    }
    [[maybe_unused]] std::int32_t sums[columns] = {};
    for (Index k = 0; k < rows_of_weights; ++k) {
      for (Index j = 0; j < columns; ++j) {
        const T value = k < K ? rows[k * columns + j] * factors[j] : T(0);
        const auto rounded_value = static_cast<std::int8_t>(value + (value < T(0) ? T(-0.5) : T(0.5)));
        target[place_in_panel<W>(k, j / width, j % width, width)] = rounded_value;
        if constexpr (more > 0) sums[j] -= 128 * rounded_value;
      }
    }
    if constexpr (more > 0) __builtin_memcpy(target + rows_of_weights * columns, sums, sizeof sums);
  }
}

// Any (K,N) matrix to (panels, K, 4 width): rows of one panel.
template <class T>
void pack_matrix(const T* source, Index row_stride, Index column_stride, Index K, Index N, Index panel,
                 Range rows, T* panels) {
  constexpr Index columns = Tile<T>::columns;
  const Index first = panel * columns;
  const Index count = smaller(columns, N - first);
  T* out = panels + (panel * K + rows.begin) * columns;
  for (Index k = rows.begin; k < rows.end; ++k, out += columns) {
    const T* in = source + k * row_stride + first * column_stride;
    for (Index j = 0; j < count; ++j) out[j] = in[j * column_stride];
    for (Index j = count; j < columns; ++j) out[j] = T(0);
  }
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
