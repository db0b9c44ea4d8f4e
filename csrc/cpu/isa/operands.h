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

template <class Row>
[[gnu::always_inline]] inline void round_rows(Index rows, Index K, const Row& row, const OperandRows& out) {
  for (Index r = 0; r < rows; ++r) {
    const float* in = row(r);
    std::uint16_t* target = out.values + r * out.stride;
    Index k = 0;
#ifdef __AVX512BF16__
    for (; k < K; k += Vec<float>::width) {
      const auto narrow = _mm512_cvtneps_pbh(Vec<float>::load(in + k, K - k).v);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(target + k), __builtin_bit_cast(__m256i, narrow));
    }
#else
    for (; k < K; ++k) target[k] = rounded(in[k]).bits;
#endif
    const Index end = panel_rows<BFloat16Operand>(K);
    for (; k < end; ++k) target[k] = 0;
  }
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
