// Products of integers of 8 bits: each row of the left operand is rounded, at each step, to multiples of
// 1/127 of its largest element, as weights are of the largest one in their column. Sums of products are exact
// in 32 bits, and so the same in every instruction set: byte_vectors.h, or byte_tiles.h where there are such
// registers.
#pragma once

#include "../kernels.h"
#include "integer.h"

namespace fusedlstm::FUSEDLSTM_ISA {

// The numbers that rows are rounded to, and what is added to each of them: x86's instructions for bytes
// multiply unsigned ones by signed ones, Arm's signed ones, and other sets those of 16 bits.
#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
using ByteOfRow = std::uint8_t;
inline constexpr int byte_offset = 128;
#elif defined(__ARM_FEATURE_DOTPROD)
using ByteOfRow = std::int8_t;
inline constexpr int byte_offset = 0;
#else
using ByteOfRow = std::int16_t;
inline constexpr int byte_offset = 0;
#endif
inline constexpr bool rows_are_bytes = sizeof(ByteOfRow) == 1;

// Row r is values + r * stride, times scales[r].
struct ByteRows {
  ByteOfRow* values;
  Index stride;  // filled up: with zeros, where that matters, to what the panels have
  float* scales;

  // Numbers of a row, without the panels' sums.
  [[gnu::always_inline]] static Index filled(Index K) {
    constexpr Index step = rows_are_bytes ? row_multiple<Int8Operand> : 16;
    return divide_up(K, step) * step;
  }

  // Takes memory for `count` rows of K elements.
  [[gnu::always_inline]] static ByteRows take(float*& next, Index count, Index K) {
    constexpr Index in_float = sizeof(float) / sizeof(ByteOfRow);
    const Index stride = filled(K);
    const ByteRows rows{reinterpret_cast<ByteOfRow*>(next), stride, next + count * stride / in_float};
    next = rows.scales + divide_up(count, 16) * 16;
    return rows;
  }
};

// The lowest bits of a vector, as rows keep them.
template <class Byte>
[[gnu::always_inline]] inline void store_bytes(Vec<float> shifted, Byte* out) {
  if constexpr (sizeof(Byte) == 1) {
    shifted.store_low_bytes(out);
  } else {
    shifted.store_low_halves(out);
  }
}

template <class Row>
[[gnu::always_inline]] inline void round_rows(Index rows, Index K, const Row& row, const ByteRows& out) {
  using V = Vec<float>;
  for (Index r = 0; r < rows; ++r) {
    const float* in = row(r);
    const RowSteps steps(in, K, 127.0F);
    out.scales[r] = steps.worth;
    ByteOfRow* target = out.values + r * out.stride;
    const V offset(byte_offset);
    for (Index k = 0; k < K; k += V::width) {
      store_bytes(steps.round(V::load(in + k, K - k)) + offset, target + k);
    }
    for (Index k = divide_up(K, V::width) * V::width; k < out.stride; ++k) {
      target[k] = static_cast<ByteOfRow>(byte_offset);
    }
    if constexpr (!rows_are_bytes) {
      // The order in which Integers::even and odd take four numbers: 0, 2, 1, 3.
      for (Index k = 0; k < out.stride; k += rows_at_once<Int8Operand>) {
        const ByteOfRow second = target[k + 1];
        target[k + 1] = target[k + 2];
        target[k + 2] = second;
      }
    }
  }
}

// Integers of a tile's sums become float32: times the scales of their rows and columns, and added to what
// they start from.
[[gnu::always_inline]] inline void scale_integers(float* sums, Index count, const float* row_scales,
                                                  const float* scale, const Start<float>& from) {
  using V = Vec<float>;
  const float* addend = from.rows;
  for (Index r = 0; r < count; ++r, sums += Tile<float>::columns, addend += from.stride) {
    for (Index j = 0; j < Tile<float>::columns; j += V::width) {
      const V factor = V(row_scales[r]) * V::load(scale + j);
      fma(V::from_integers(sums + j), factor, V::load(addend + j)).store(sums + j);
    }
  }
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
