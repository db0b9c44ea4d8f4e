// Panels of weights that are multiplied as bfloat16.
#pragma once

#include "operands.h"

namespace fusedlstm::FUSEDLSTM_ISA {

// Panels (panels, K, 4, width), of a range, as operands; rows beyond K are zero.
inline void round_to_operands(const float* panels, Index K, Range range, BFloat16Operand* out) {
  using V = Vec<float>;
  constexpr Index columns = Tile<float>::columns;
  const Index all = panel_rows<BFloat16Operand>(K);
  for (Index panel = range.begin; panel < range.end; ++panel) {
    auto* target = reinterpret_cast<std::uint16_t*>(out + panel * all * columns);
    const float* rows = panels + panel * K * columns;
    for (Index k = 0; k < all; k += 2) {
      for (Index j = 0; j < columns; j += V::width, target += 2 * V::width) {
        const V first = k < K ? V::load(rows + k * columns + j) : V(0);
        const V second = k + 1 < K ? V::load(rows + (k + 1) * columns + j) : V(0);
        store_pairs(first, second, target);
      }
    }
  }
}

// Rows [0, K) of a matrix (K, N) with any strides as panels (panels, pairs, 4, width, 2), of a range; what is
// beyond is zero. Of a transposed matrix, whose columns are what lies side by side, 16 by 32 numbers at a
// time.
inline void pack_operands(const float* source, Index row_stride, Index column_stride, Index K, Index N,
                          Range range, BFloat16Operand* panels) {
  using V = Vec<float>;
  constexpr Index columns = Tile<float>::columns;
  const Index all = panel_rows<BFloat16Operand>(K);
  for (Index panel = range.begin; panel < range.end; ++panel) {
    auto* out = reinterpret_cast<std::uint16_t*>(panels + panel * all * columns);
    const Index first = panel * columns;
    const Index count = smaller(columns, N - first);
    const float* in = source + first * column_stride;
    if (column_stride == 1) {
      for (Index k = 0; k < all; k += 2) {
        for (Index j = 0; j < columns; j += V::width, out += 2 * V::width) {
          const auto load = [&](Index row) FUSEDLSTM_INLINE {
            return row < K && j < count ? V::load(in + row * row_stride + j, count - j) : V(0);
          };
          store_pairs(load(k), load(k + 1), out);
        }
      }
      continue;
    }
#ifdef __AVX512BF16__
    if (row_stride == 1) {
      for (Index k = 0; k < all; k += 32) {
        for (Index j = 0; j < columns; j += V::width) {
          const auto load = [&](Index column, Index row) FUSEDLSTM_INLINE {
            return column < count && row < K ? V::load(in + column * column_stride + row, K - row) : V(0);
          };
          __m512i words[16];
          for (Index i = 0; i < 16; ++i) {
            words[i] = __builtin_bit_cast(__m512i,
                                          _mm512_cvtne2ps_pbh(load(j + i, k + V::width).v, load(j + i, k).v));
          }
          transpose_words(words);
          for (Index i = 0; i < 16; ++i) {
            _mm512_storeu_si512(out + (k / 2 + i) * 2 * columns + 2 * j, words[i]);
          }
        }
      }
      continue;
    }
#endif
    for (Index k = 0; k < all; ++k) {
      for (Index j = 0; j < columns; ++j) {
        const bool there = k < K && j < count;
        out[place_in_panel<BFloat16Operand>(k, j / V::width, j % V::width, V::width)] =
            there ? rounded(in[k * row_stride + j * column_stride]).bits : std::uint16_t{0};
      }
    }
  }
}

#ifdef __AVX512BF16__
// 16 rows of transposed gates, for 32 of their columns: rows of pairs (8, 4 width, 2) from rows of pairs (16,
// 4 width, 2), of which `given` are there.
[[gnu::always_inline]] inline void transpose_block(const BFloat16Operand* in, Index given,
                                                   BFloat16Operand* out) {
  constexpr Index line = 2 * Tile<float>::columns;
  const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7,
                                       38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
  const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  __m512i words[16];
  for (Index i = 0; i < 16; ++i) {
    words[i] = i < given ? _mm512_loadu_si512(in + i * line) : _mm512_setzero_si512();
  }
  transpose_words(words);
  for (Index i = 0; i < 16; i += 2, out += line) {
    _mm512_storeu_si512(out, _mm512_permutex2var_epi16(words[i], low, words[i + 1]));
    _mm512_storeu_si512(out + 32, _mm512_permutex2var_epi16(words[i], high, words[i + 1]));
  }
}
#endif

// As transpose_gates, of panels of operands.
inline void transpose_operand_gates(const BFloat16Operand* gate_panels, Index K, Index units, Range range,
                                    BFloat16Operand* panels) {
  constexpr Index width = Vec<float>::width;
  constexpr Index columns = Tile<float>::columns;
  const Index in_rows = panel_rows<BFloat16Operand>(K);
  const Index all = divide_up(units, width) * columns;
  const Index out_size = panel_rows<BFloat16Operand>(all) * columns;
  for (Index panel = range.begin; panel < range.end; ++panel) {
    BFloat16Operand* out = panels + panel * out_size;
    const Index first = panel * columns;
#ifdef __AVX512BF16__
    for (Index row = 0; row < all; row += width) {
      const BFloat16Operand* in = gate_panels + row / columns * in_rows * columns + 2 * (row % columns);
      for (Index j = 0; j < columns; j += 32) {
        transpose_block(in + (first + j) * columns, (in_rows - first - j) / 2, out + row * columns + 2 * j);
      }
    }
#else
    for (Index i = 0; i < out_size; ++i) out[i] = {};
    for (Index row = 0; row < all; ++row) {
      const BFloat16Operand* in = gate_panels + row / columns * in_rows * columns;
      for (Index j = 0; j < smaller(columns, K - first); ++j) {
        out[place_in_panel<BFloat16Operand>(row, j / width, j % width, width)] =
            in[place_in_panel<BFloat16Operand>(first + j, row % columns / width, row % width, width)];
      }
    }
#endif
  }
}

// As transpose_panels, of panels of operands.
inline void transpose_operand_panels(const BFloat16Operand* panels, Index K, Index N, Range range,
                                     BFloat16Operand* transposed) {
  constexpr Index width = Vec<float>::width;
  constexpr Index columns = Tile<float>::columns;
  const Index in_size = panel_rows<BFloat16Operand>(K) * columns;
  const Index out_size = panel_rows<BFloat16Operand>(N) * columns;
  for (Index panel = range.begin; panel < range.end; ++panel) {
    BFloat16Operand* out = transposed + panel * out_size;
    const Index first = panel * columns;
    for (Index i = 0; i < out_size; ++i) out[i] = {};
    for (Index n = 0; n < N; ++n) {
      const BFloat16Operand* in = panels + n / columns * in_size;
      const Index column = n % columns;
      for (Index j = 0; j < smaller(columns, K - first); ++j) {
        out[place_in_panel<BFloat16Operand>(n, j / width, j % width, width)] =
            in[place_in_panel<BFloat16Operand>(first + j, column / width, column % width, width)];
      }
    }
  }
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
