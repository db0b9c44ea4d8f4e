// Products with weights of 8 bits. The left operand's rows are rounded to 16 bits, each row at each step to
// multiples of 1/32767 of its largest element, so that the products are integers: exact sums of pairs, two
// products to an instruction, in a quarter of the bytes.
#pragma once

#include "gemm.h"

namespace fusedlstm::FUSEDLSTM_ISA {

// A whole number of vectors, and of pairs.
[[gnu::always_inline]] inline Index integer_stride(Index K) {
  constexpr Index step = Vec<float>::width > 2 ? Vec<float>::width : 2;
  return divide_up(K, step) * step;
}

// Rows rounded to 16 bits; row r is values + r * stride times scales[r].
struct IntegerRows {
  std::int16_t* values;
  Index stride;  // even, and filled up with zeros
  float* scales;

  // Takes memory for `count` rows of K elements.
  [[gnu::always_inline]] static IntegerRows take(float*& next, Index count, Index K) {
    const Index stride = integer_stride(K);
    const IntegerRows rows{reinterpret_cast<std::int16_t*>(next), stride, next + count * stride / 2};
    next = rows.scales + divide_up(count, 16) * 16;
    return rows;
  }
};

// A row's largest magnitude becomes so many steps: what a step is worth, and the factor that gives steps. A
// row with NaN or infinity is worth NaN, which is what it has to come to.
struct RowSteps {
  float worth;
  float factor;

  [[gnu::always_inline]] RowSteps(const float* row, Index K, float steps) {
    using V = Vec<float>;
    constexpr float negligible = 1e-30F;  // below it, the factor would overflow
    V largest(0);
    V poison(0);
    for (Index k = 0; k < K; k += V::width) {
      const V value = V::load(row + k, K - k);
      largest = max(abs(value), largest);
      poison = fma(value, V(0), poison);
    }
    const float top = max_of_lanes(largest);
    worth = top / steps + sum_of_lanes(poison);
    factor = top > negligible ? steps / top : 0.0F;
  }

  // Added to a number of which the lowest bit counts ones, a factor times an element is rounded to the
  // integer that stands in the lowest bits.
  [[gnu::always_inline]] Vec<float> round(Vec<float> value) const {
    return fma(value, Vec<float>(factor), Vec<float>(FloatFormat<float>::shift));
  }
};

template <class Row>
[[gnu::always_inline]] inline void round_rows(Index rows, Index K, const Row& row, const IntegerRows& out) {
  using V = Vec<float>;
  for (Index r = 0; r < rows; ++r) {
    const float* in = row(r);
    const RowSteps steps(in, K, 32767.0F);
    out.scales[r] = steps.worth;
    std::int16_t* target = out.values + r * out.stride;
    for (Index k = 0; k < K; k += V::width) {
      steps.round(V::load(in + k, K - k)).store_low_halves(target + k);
    }
    for (Index k = divide_up(K, V::width) * V::width; k < out.stride; ++k) target[k] = 0;
  }
}

// As multiply_tile: sums[P] (R, columns) = rows (R, 2 pairs) times P panels of (pairs, 4, width, 2), without
// the scales.
template <int R, int P>
[[gnu::noinline]] void multiply_integer_tile(const std::int16_t* rows, Index row_stride,
                                             const std::int8_t* panel, Index stride, Index pairs,
                                             float* const (&sums)[P]) {
  using V = Vec<float>;
  using Integers = V::Integers;
  constexpr int vectors = Tile<float>::vectors;
  // A pair of products is below 2^23, so that 2^8 of them fit 32 bits; whole blocks are added as floats.
  constexpr Index most = 256;
  Index first = 0;
  do {
    const Index count = smaller(most, pairs - first);
    Integers sum[R][P * vectors];
    for (auto& row : sum) {
      for (Integers& each : row) each = Integers::zero();
    }
    const std::int16_t* left = rows + 2 * first;
    for (Index k = 0; k < count; ++k, left += 2, panel += 2 * Tile<float>::columns) {
      typename Integers::Pair a[R];
      for (int r = 0; r < R; ++r) a[r] = Integers::repeat(left + r * row_stride);
      for (int j = 0; j < P * vectors; ++j) {
        const auto b = Integers::widen(panel + (j / vectors) * stride + j % vectors * 2 * V::width);
        for (int r = 0; r < R; ++r) sum[r][j].add(a[r], b);
      }
    }
    for (int r = 0; r < R; ++r) {
      for (int j = 0; j < P * vectors; ++j) {
        float* out = sums[j / vectors] + r * Tile<float>::columns + j % vectors * V::width;
        const V part = sum[r][j].total();
        (first == 0 ? part : V::load(out) + part).store(out);
      }
    }
    first += count;
  } while (first < pairs);
}

// Sums of integers (count, columns) get the scales of their rows and columns and what they are added to, rows
// `stride` apart.
template <class T>
[[gnu::always_inline]] inline void scale_and_add(T* sums, Index count, const T* row_scales, const T* scale,
                                                 const T* addend, Index stride) {
  using V = Vec<T>;
  for (Index r = 0; r < count; ++r, sums += Tile<T>::columns, addend += stride) {
    for (Index j = 0; j < Tile<T>::columns; j += V::width) {
      const V factor = V(row_scales[r]) * V::load(scale + j);
      fma(V::load(sums + j), factor, V::load(addend + j)).store(sums + j);
    }
  }
}

// As multiply, for panels of integers with a scale for each of their columns; `start` is added at the end.
template <class Begin, class Place, class Finish>
[[gnu::always_inline]] inline void multiply_rounded(const NoUnit&, Index rows, Index K,
                                                    const IntegerRows& left, const std::int8_t* panels,
                                                    const float* scales, PanelOrder order, const Begin& start,
                                                    const Place& place, const Finish& finish_tile) {
  const auto finish = [&](Index first, Index panel, Index tile_rows, float* sums) FUSEDLSTM_INLINE {
    const Start<float> from = start(first, panel);
    scale_and_add(sums, tile_rows, left.scales + first, scales + panel * Tile<float>::columns, from.rows,
                  from.stride);
    finish_tile(first, panel, tile_rows, sums);
  };
  const Index pairs = divide_up(K, 2);
  const Index stride = pairs * 2 * Tile<float>::columns;
  const Index count = order.range.size();
  Index done = 0;
  if (rows == 1) {
    for (; done + 2 <= count; done += 2) {
      const Index panel = smaller(order.at(done), order.at(done + 1));
      float* const sums[2] = {place(0, panel, 0), place(0, panel + 1, 1)};
      multiply_integer_tile<1, 2>(left.values, left.stride, panels + panel * stride, stride, pairs, sums);
      finish(0, panel, 1, sums[0]);
      finish(0, panel + 1, 1, sums[1]);
    }
  }
  for (; done < count; ++done) {
    const Index panel = order.at(done);
    for_each_tile<float>(rows, [&](Index first, Index tile_rows) FUSEDLSTM_INLINE {
      float* const sums[1] = {place(first, panel, 0)};
      with_tile_rows<Tile<float>::rows>(tile_rows, [&](auto known) FUSEDLSTM_INLINE {
        multiply_integer_tile<decltype(known)::value, 1>(left.values + first * left.stride, left.stride,
                                                         panels + panel * stride, 0, pairs, sums);
      });
      finish(first, panel, tile_rows, sums[0]);
    });
  }
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
