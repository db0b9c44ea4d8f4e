// Products of bytes by vectors: in each lane, four rows of a unit's weights at a time.
#pragma once

#include "bytes.h"

namespace fusedlstm::FUSEDLSTM_ISA {

// A vector of sums, to which add() adds products of four numbers of a row, repeated in all lanes, and of
// weights (width, 4).
#if defined(__AVX512VNNI__)
struct ByteSums {
  using Left = __m512i;
  using Right = __m512i;
  __m512i v;

  static ByteSums start(const Int8Operand* sums) { return {_mm512_loadu_si512(sums)}; }
  static Left repeat(const ByteOfRow* p) { return _mm512_set1_epi32(word_at(p)); }
  static Right load(const Int8Operand* p) { return _mm512_loadu_si512(p); }
  void add(const Left& a, const Right& b) { v = _mm512_dpbusd_epi32(v, a, b); }
  Vec<float> total() const { return _mm512_cvtepi32_ps(v); }
};
#elif defined(__AVXVNNI__)
struct ByteSums {
  using Left = __m256i;
  using Right = __m256i;
  __m256i v;

  static Right load(const Int8Operand* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static ByteSums start(const Int8Operand* sums) { return {load(sums)}; }
  static Left repeat(const ByteOfRow* p) { return _mm256_set1_epi32(word_at(p)); }
  void add(const Left& a, const Right& b) { v = _mm256_dpbusd_avx_epi32(v, a, b); }
  Vec<float> total() const { return _mm256_cvtepi32_ps(v); }
};
#elif defined(__ARM_FEATURE_DOTPROD)
struct ByteSums {
  using Left = int8x16_t;
  using Right = int8x16_t;
  int32x4_t v;

  static ByteSums start(const Int8Operand*) { return {vdupq_n_s32(0)}; }
  static Left repeat(const ByteOfRow* p) { return vreinterpretq_s8_s32(vdupq_n_s32(word_at(p))); }
  static Right load(const Int8Operand* p) { return vld1q_s8(reinterpret_cast<const std::int8_t*>(p)); }
  void add(const Left& a, const Right& b) { v = vdotq_s32(v, b, a); }
  Vec<float> total() const { return vcvtq_f32_s32(v); }
};
#else
// Products of 16 bits: the first and third number, and the second and fourth, are widened.
struct ByteSums {
  using Integers = Vec<float>::Integers;
  struct Left {
    Integers::Pair even, odd;
  };
  struct Right {
    Integers::Widened even, odd;
  };
  Integers v;

  static ByteSums start(const Int8Operand*) { return {Integers::zero()}; }
  static Left repeat(const ByteOfRow* p) { return {Integers::repeat(p), Integers::repeat(p + 2)}; }
  static Right load(const Int8Operand* p) {
    const auto* bytes = reinterpret_cast<const std::int8_t*>(p);
    return {Integers::even(bytes), Integers::odd(bytes)};
  }
  void add(const Left& a, const Right& b) {
    v.add(a.even, b.even);
    v.add(a.odd, b.odd);
  }
  Vec<float> total() const { return v.total(); }
};
#endif

// A tile of P panels, whose integers become start + row_scales scale sums.
template <int P>
struct ByteTile {
  Start<float> start[P];
  const float* row_scales;
  const float* scale[P];
  float* sums[P];
};

// As multiply_operand_tile, of rows (R, 4 groups) and P panels of (groups, 4, width, 4) that lie `stride`
// apart, with the sums that they start from `ends` after their beginning.
template <int R, int P>
[[gnu::noinline]] void multiply_byte_tile(const ByteTile<P>& tile, const ByteOfRow* rows, Index row_stride,
                                          const Int8Operand* panel, Index stride, Index ends, Index groups) {
  using V = Vec<float>;
  constexpr int vectors = Tile<float>::vectors;
  constexpr Index at_once = rows_at_once<Int8Operand>;
  ByteSums sum[R][P * vectors];
  for (int j = 0; j < P * vectors; ++j) {
    const Index place = (j / vectors) * stride + ends + j % vectors * at_once * V::width;
    for (int r = 0; r < R; ++r) sum[r][j] = ByteSums::start(panel + place);
  }
  for (Index k = 0; k < groups; ++k, rows += at_once, panel += at_once * Tile<float>::columns) {
    ByteSums::Left a[R];
    for (int r = 0; r < R; ++r) a[r] = ByteSums::repeat(rows + r * row_stride);
    for (int j = 0; j < P * vectors; ++j) {
      const Index place = (j / vectors) * stride + j % vectors * at_once * V::width;
      const ByteSums::Right b = ByteSums::load(panel + place);
      for (int r = 0; r < R; ++r) sum[r][j].add(a[r], b);
    }
  }
  for (int r = 0; r < R; ++r) {
    const V of_row(tile.row_scales[r]);
    for (int j = 0; j < P * vectors; ++j) {
      const int p = j / vectors;
      const Index column = j % vectors * V::width;
      const V from = V::load(tile.start[p].rows + r * tile.start[p].stride + column);
      const V total = fma(sum[r][j].total(), of_row * V::load(tile.scale[p] + column), from);
      total.store(tile.sums[p] + r * Tile<float>::columns + column);
    }
  }
}

// As multiply_adds, of bytes.
inline double vector_multiply_adds(Index rounds) {
  constexpr int R = Tile<float>::rows;
  constexpr int unroll = 16;
  const Int8Operand weights[4 * Vec<float>::width] = {};
  const ByteOfRow row[4] = {};
  ByteSums acc[R][Tile<float>::vectors];
  for (auto& line : acc) {
    for (ByteSums& sum : line) sum = ByteSums::start(weights);
  }
  ByteSums::Left a = ByteSums::repeat(row);
  ByteSums::Right b = ByteSums::load(weights);
  for (Index i = 0; i < rounds; ++i) {
    asm volatile("" : "+m"(a), "+m"(b));  // Hidden from the optimizer.
    for (int u = 0; u < unroll; ++u) {
      for (int r = 0; r < R; ++r) {
        for (int j = 0; j < Tile<float>::vectors; ++j) acc[r][j].add(a, b);
      }
    }
  }
  asm volatile("" : : "m"(acc));
  return 8.0 * static_cast<double>(rounds) * unroll * R * Tile<float>::columns;
}

// As multiply, for rows and panels of bytes with a scale for each of their columns; `start` is added at the
// end.
template <class Begin, class Place, class Finish>
[[gnu::always_inline]] inline void multiply_by_vectors(Index rows, Index K, const ByteRows& left,
                                                       const Int8Operand* panels, const float* scales,
                                                       PanelOrder order, const Begin& start,
                                                       const Place& place, const Finish& finish) {
  constexpr Index columns = Tile<float>::columns;
  const Index groups = divide_up(K, rows_at_once<Int8Operand>);
  const Index ends = (panel_rows<Int8Operand>(K) - rows_of_sums<Int8Operand>)*columns;
  const Index stride = panel_rows<Int8Operand>(K) * columns;
  const Index count = order.range.size();
  Index done = 0;
  if (rows == 1) {
    for (; done + 2 <= count; done += 2) {
      const Index panel = smaller(order.at(done), order.at(done + 1));
      const ByteTile<2> tile{{start(0, panel), start(0, panel + 1)},
                             left.scales,
                             {scales + panel * columns, scales + (panel + 1) * columns},
                             {place(0, panel, 0), place(0, panel + 1, 1)}};
      multiply_byte_tile<1, 2>(tile, left.values, left.stride, panels + panel * stride, stride, ends, groups);
      finish(0, panel, 1, tile.sums[0]);
      finish(0, panel + 1, 1, tile.sums[1]);
    }
  }
  for (; done < count; ++done) {
    const Index panel = order.at(done);
    for_each_tile<float>(rows, [&](Index first, Index tile_rows) FUSEDLSTM_INLINE {
      const ByteTile<1> tile{
          {start(first, panel)}, left.scales + first, {scales + panel * columns}, {place(first, panel, 0)}};
      with_tile_rows<Tile<float>::rows>(tile_rows, [&](auto known) FUSEDLSTM_INLINE {
        multiply_byte_tile<decltype(known)::value, 1>(tile, left.values + first * left.stride, left.stride,
                                                      panels + panel * stride, 0, ends, groups);
      });
      finish(first, panel, tile_rows, tile.sums[0]);
    });
  }
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
