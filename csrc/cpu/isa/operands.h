// Rows rounded to bfloat16, the left operand of products with weights that are rounded alike, whose sums are
// float32: pairs.h, or tiles.h where there are such registers.
#pragma once

#include "gemm.h"

namespace fusedlstm::FUSEDLSTM_ISA {

// To the nearest number, ties to even; NaN stays NaN.
[[gnu::always_inline]] inline BFloat16 rounded(float value) {
  const std::uint32_t bits = __builtin_bit_cast(std::uint32_t, value);
  const std::uint32_t nearest = bits + 0x7fffU + ((bits >> 16) & 1U);
  const std::uint32_t nan = bits | 0x400000U;
  return {static_cast<std::uint16_t>(((bits & 0x7fffffffU) > 0x7f800000U ? nan : nearest) >> 16)};
}

[[gnu::always_inline]] inline float widened(std::uint16_t bits) {
  return __builtin_bit_cast(float, std::uint32_t{bits} << 16);
}

// Rows rounded to bfloat16, filled up with zeros to whole rows of the panels.
struct OperandRows {
  std::uint16_t* values;
  Index stride;

  // Takes memory for `count` rows of K elements.
  [[gnu::always_inline]] static OperandRows take(float*& next, Index count, Index K) {
    const OperandRows rows{reinterpret_cast<std::uint16_t*>(next), panel_rows<BFloat16Operand>(K)};
    next += divide_up(count * rows.stride / 2, 16) * 16;
    return rows;
  }
};

// Numbers of a row; whole vectors of them, with zeros.
[[gnu::always_inline]] inline void round_numbers(const float* in, Index count, std::uint16_t* out) {
#ifdef __AVX512BF16__
  for (Index k = 0; k < count; k += Vec<float>::width) {
    const auto narrow = _mm512_cvtneps_pbh(Vec<float>::load(in + k, count - k).v);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + k), __builtin_bit_cast(__m256i, narrow));
  }
#else
  for (Index k = 0; k < count; ++k) out[k] = rounded(in[k]).bits;
#endif
}

template <class Row>
[[gnu::always_inline]] inline void round_rows(Index rows, Index K, const LeftRows<Row>& left,
                                              const OperandRows& out) {
  for (Index r = 0; r < rows; ++r) {
    const float* in = left.row(r);
    std::uint16_t* target = out.values + r * out.stride;
    for (Index k = 0; k < K; k += left.segment, in += left.jump) {
      round_numbers(in, smaller(left.segment, K - k), target + k);
    }
    const Index end = panel_rows<BFloat16Operand>(K);
    for (Index k = K; k < end; ++k) target[k] = 0;
  }
}

template <class Row>
[[gnu::always_inline]] inline void round_rows(Index rows, Index K, const Row& row, const OperandRows& out) {
  round_rows(rows, K, whole_rows(K, row), out);
}

#ifdef __AVX512BF16__
// Columns of 16 rows of 16 words as rows.
[[gnu::always_inline]] inline void transpose_words(__m512i (&rows)[16]) {
  __m512i part[16];
  for (int i = 0; i < 16; i += 2) {
    part[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    part[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    rows[i] = _mm512_unpacklo_epi64(part[i], part[i + 2]);
    rows[i + 1] = _mm512_unpackhi_epi64(part[i], part[i + 2]);
    rows[i + 2] = _mm512_unpacklo_epi64(part[i + 1], part[i + 3]);
    rows[i + 3] = _mm512_unpackhi_epi64(part[i + 1], part[i + 3]);
  }
  constexpr int even = 0x88;  // quarters 0 and 2 of both
  constexpr int odd = 0xdd;
  for (int i = 0; i < 4; ++i) {
    part[i] = _mm512_shuffle_i32x4(rows[i], rows[i + 4], even);
    part[i + 4] = _mm512_shuffle_i32x4(rows[i], rows[i + 4], odd);
    part[i + 8] = _mm512_shuffle_i32x4(rows[i + 8], rows[i + 12], even);
    part[i + 12] = _mm512_shuffle_i32x4(rows[i + 8], rows[i + 12], odd);
  }
  for (int i = 0; i < 4; ++i) {
    rows[i] = _mm512_shuffle_i32x4(part[i], part[i + 8], even);
    rows[i + 4] = _mm512_shuffle_i32x4(part[i + 4], part[i + 12], even);
    rows[i + 8] = _mm512_shuffle_i32x4(part[i], part[i + 8], odd);
    rows[i + 12] = _mm512_shuffle_i32x4(part[i + 4], part[i + 12], odd);
  }
}

// Two rows as a row of pairs.
[[gnu::always_inline]] inline __m512i pairs_of(Vec<float> first, Vec<float> second) {
  const __m512i in_turns = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23,
                                            7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  const auto halves = __builtin_bit_cast(__m512i, _mm512_cvtne2ps_pbh(second.v, first.v));
  return _mm512_permutexvar_epi16(in_turns, halves);
}
#endif

[[gnu::always_inline]] inline void store_pairs(Vec<float> first, Vec<float> second, std::uint16_t* out) {
#ifdef __AVX512BF16__
  _mm512_storeu_si512(out, pairs_of(first, second));
#else
  constexpr Index width = Vec<float>::width;
  float lanes[2][width];
  first.store(lanes[0]);
  second.store(lanes[1]);
  for (Index i = 0; i < 2 * width; ++i) out[i] = rounded(lanes[i % 2][i / 2]).bits;
#endif
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
