// Products of operands by vectors: in each lane, a pair of rows at a time.
#pragma once

#include "../kernels.h"
#include "operands.h"

namespace fusedlstm::FUSEDLSTM_ISA {

// Pairs of neighbours in each lane, and sum + a product of them: of the first ones, then of the second.
struct Pairs {
#ifdef __AVX512BF16__
  __m512bh v;

  [[gnu::always_inline]] static Pairs repeat(const std::uint16_t* p) {
    return {__builtin_bit_cast(__m512bh, _mm512_set1_epi32(word_at(p)))};
  }
  [[gnu::always_inline]] static Pairs load(const BFloat16Operand* row, int j) {
    return {__builtin_bit_cast(__m512bh, _mm512_loadu_si512(row + j * 2 * Vec<float>::width))};
  }
  [[gnu::always_inline]] friend Vec<float> multiply_add(const Pairs& a, const Pairs& b, Vec<float> sum) {
    return _mm512_dpbf16_ps(sum.v, a.v, b.v);
  }
#else
  Vec<float> first;
  Vec<float> second;

  [[gnu::always_inline]] static Pairs repeat(const std::uint16_t* p) {
    return {Vec<float>(widened(p[0])), Vec<float>(widened(p[1]))};
  }
  // Vectors of pairs of rows lie as those of pairs of gates do.
  [[gnu::always_inline]] static Pairs load(const BFloat16Operand* row, int j) {
    const auto* gates = reinterpret_cast<const BFloat16*>(row);
    if constexpr (Vec<float>::width == 1) {
      return {Vec<float>(widened(gates[2 * j].bits)), Vec<float>(widened(gates[2 * j + 1].bits))};
    } else {
      return {Vec<float>::load_part(gates, 2 * j), Vec<float>::load_part(gates, 2 * j + 1)};
    }
  }
  [[gnu::always_inline]] friend Vec<float> multiply_add(const Pairs& a, const Pairs& b, Vec<float> sum) {
    return fma(a.second, b.second, fma(a.first, b.first, sum));
  }
#endif
};

// As multiply_tile: sums[P] (R, columns) = start[P] + rows (R, 2 pairs) times P panels of (pairs, 4, width,
// 2) that lie `stride` apart.
template <int R, int P>
[[gnu::noinline]] void multiply_operand_tile(const Start<float> (&start)[P], const std::uint16_t* rows,
                                             Index row_stride, const BFloat16Operand* panel, Index stride,
                                             Index pairs, float* const (&sums)[P]) {
  using V = Vec<float>;
  constexpr int vectors = Tile<float>::vectors;
  V sum[R][P * vectors];
  for (int r = 0; r < R; ++r) {
    for (int j = 0; j < P * vectors; ++j) {
      const Start<float>& from = start[j / vectors];
      sum[r][j] = V::load(from.rows + r * from.stride + j % vectors * V::width);
    }
  }
  for (Index k = 0; k < pairs; ++k, rows += 2, panel += 2 * Tile<float>::columns) {
    Pairs a[R];
    for (int r = 0; r < R; ++r) a[r] = Pairs::repeat(rows + r * row_stride);
    for (int j = 0; j < P * vectors; ++j) {
      const Pairs b = Pairs::load(panel + (j / vectors) * stride, j % vectors);
      for (int r = 0; r < R; ++r) sum[r][j] = multiply_add(a[r], b, sum[r][j]);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int j = 0; j < P * vectors; ++j) {
      sum[r][j].store(sums[j / vectors] + r * Tile<float>::columns + j % vectors * V::width);
    }
  }
}

// As multiply_adds, of operands.
inline double operand_multiply_adds(Index rounds) {
  using V = Vec<float>;
  constexpr int R = Tile<float>::rows;
  constexpr int unroll = 16;
  V acc[R][Tile<float>::vectors];
  for (auto& row : acc) {
    for (V& sum : row) sum = V(0);
  }
  const std::uint16_t zeros[2] = {};
  Pairs a = Pairs::repeat(zeros);
  Pairs b = a;
  for (Index i = 0; i < rounds; ++i) {
    asm volatile("" : "+m"(a), "+m"(b));  // Hidden from the optimizer.
    for (int u = 0; u < unroll; ++u) {
      for (int r = 0; r < R; ++r) {
        for (int j = 0; j < Tile<float>::vectors; ++j) acc[r][j] = multiply_add(a, b, acc[r][j]);
      }
    }
  }
  asm volatile("" : : "m"(acc));
  return 4.0 * static_cast<double>(rounds) * unroll * R * Tile<float>::columns;
}

using OperandUnit = NoUnit;

inline constexpr Index operand_tile_rows = Tile<float>::rows;
inline constexpr Index operand_tile_features = 1;
inline constexpr ProductCosts operand_costs{.element = sizeof(BFloat16Operand),
                                            .tile_rows = Tile<float>::rows};

// As multiply, for rows and panels of operands.
template <class Begin, class Place, class Finish>
[[gnu::always_inline]] inline void multiply_rounded(const OperandUnit&, Index rows, Index K,
                                                    const OperandRows& left, const BFloat16Operand* panels,
                                                    const float*, PanelOrder order, const Begin& start,
                                                    const Place& place, const Finish& finish) {
  const Index pairs = divide_up(K, 2);
  const Index stride = panel_rows<BFloat16Operand>(K) * Tile<float>::columns;
  const Index count = order.range.size();
  Index done = 0;
  if (rows == 1) {
    for (; done + 2 <= count; done += 2) {
      const Index panel = smaller(order.at(done), order.at(done + 1));
      const Start<float> from[2] = {start(0, panel), start(0, panel + 1)};
      float* const sums[2] = {place(0, panel, 0), place(0, panel + 1, 1)};
      multiply_operand_tile<1, 2>(from, left.values, left.stride, panels + panel * stride, stride, pairs,
                                  sums);
      finish(0, panel, 1, sums[0]);
      finish(0, panel + 1, 1, sums[1]);
    }
  }
  for (; done < count; ++done) {
    const Index panel = order.at(done);
    for_each_tile<float>(rows, [&](Index first, Index tile_rows) FUSEDLSTM_INLINE {
      const Start<float> from[1] = {start(first, panel)};
      float* const sums[1] = {place(first, panel, 0)};
      with_tile_rows<Tile<float>::rows>(tile_rows, [&](auto known) FUSEDLSTM_INLINE {
        multiply_operand_tile<decltype(known)::value, 1>(from, left.values + first * left.stride, left.stride,
                                                         panels + panel * stride, 0, pairs, sums);
      });
      finish(first, panel, tile_rows, sums[0]);
    });
  }
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
