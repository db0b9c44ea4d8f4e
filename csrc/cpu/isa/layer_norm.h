// Layer normalization of rows.
#pragma once

#include "../../math/layer_norm.h"
#include "../kernels.h"
#include "denormals.h"
#include "gemm.h"
#include "rows.h"

namespace fusedlstm::FUSEDLSTM_ISA {

// Moments of `count` numbers, which each(body) hands over as body(place in a group of four, vector, lanes),
// in two passes: the variance as the mean of squares less the square of the mean would cancel. The second
// pass also takes the rounding error of the mean out of both.
template <class T, class Each>
[[gnu::always_inline]] inline Moments<Vec<T>> moments(Index count, T epsilon, const Each& each) {
  using V = Vec<T>;
  const T share = T(1) / static_cast<T>(count);
  RowSum<T> sum;
  each([&](int j, V x, auto) FUSEDLSTM_INLINE { sum.part[j] = sum.part[j] + x; });
  const T mean = sum.total() * share;
  RowSum<T> rest;
  RowSum<T> squares;
  each([&](int j, V x, auto lanes) FUSEDLSTM_INLINE {
    const V d = within(x - V(mean), lanes);
    rest.part[j] = rest.part[j] + d;
    squares.part[j] = fma(d, d, squares.part[j]);
  });
  const T shift = rest.total() * share;
  const V variance = max(V(0), V(squares.total() * share - shift * shift));
  return {V(mean + shift), V(1) / sqrt(variance + V(epsilon))};
}

template <class T>
[[gnu::always_inline]] inline Moments<Vec<T>> moments_of(const T* x, Index count, T epsilon) {
  return moments<T>(count, epsilon, [&](const auto& body) FUSEDLSTM_INLINE {
    for_each_in_groups<T>(count, [&](int j, Index i, auto lanes)
                                     FUSEDLSTM_INLINE { body(j, Vec<T>::load(x + i, lanes), lanes); });
  });
}

template <class T>
void layer_norm(const LayerNormProblem<T>& p, Range rows) {
  using V = Vec<T>;
  const FlushDenormals flush;
  for (Index b = rows.begin; b < rows.end; ++b) {
    const T* x = p.x + b * p.x_stride;
    T* y = p.y + b * p.features;
    const Moments<V> row = moments_of(x, p.features, p.epsilon);
    for_each_in_groups<T>(p.features, [&](int, Index i, auto lanes) FUSEDLSTM_INLINE {
      V n = normalized(V::load(x + i, lanes), row);
      if (p.gamma != nullptr) n = n * V::load(p.gamma + i, lanes);
      if (p.beta != nullptr) n = n + V::load(p.beta + i, lanes);
      n.store(y + i, lanes);
    });
  }
}

// A block's dgamma and dbeta grow in its own two rows of `partial` as its rows of x pass.
template <class T>
void layer_norm_gradients(const LayerNormProblem<T>& p, Range blocks) {
  using V = Vec<T>;
  const FlushDenormals flush;
  const Index N = p.features;
  const T share = T(1) / static_cast<T>(N);
  for (Index block = blocks.begin; block < blocks.end; ++block) {
    T* dgamma = p.partial + block * 2 * N;
    T* dbeta = dgamma + N;
    for (Index i = 0; i < 2 * N; ++i) dgamma[i] = T(0);
    const Index end = smaller(p.rows, (block + 1) * p.block);
    for (Index b = block * p.block; b < end; ++b) {
      const T* x = p.x + b * p.x_stride;
      const T* dy = p.dy + b * N;
      const Moments<V> row = moments_of(x, N, p.epsilon);
      RowSum<T> dn;
      RowSum<T> n_dn;
      for_each_in_groups<T>(N, [&](int j, Index i, auto lanes) FUSEDLSTM_INLINE {
        const V n = normalized(V::load(x + i, lanes), row);
        const V d = V::load(dy + i, lanes);
        const V scaled = p.gamma != nullptr ? d * V::load(p.gamma + i, lanes) : d;
        dn.part[j] = dn.part[j] + scaled;
        n_dn.part[j] = fma(n, scaled, n_dn.part[j]);
        fma(n, d, V::load(dgamma + i, lanes)).store(dgamma + i, lanes);
        (V::load(dbeta + i, lanes) + d).store(dbeta + i, lanes);
      });
      if (p.dx == nullptr) continue;
      const GradientMeans<V> means{V(dn.total() * share), V(n_dn.total() * share)};
      T* dx = p.dx + b * N;
      for_each_in_groups<T>(N, [&](int, Index i, auto lanes) FUSEDLSTM_INLINE {
        const V n = normalized(V::load(x + i, lanes), row);
        const V d = V::load(dy + i, lanes);
        const V scaled = p.gamma != nullptr ? d * V::load(p.gamma + i, lanes) : d;
        through_norm(scaled, n, row.scale, means).store(dx + i, lanes);
      });
    }
  }
}

// out = the sum of `count` rows that lie `stride` apart, in ascending order, for the columns in `range`.
template <class T>
void add_rows(Range range, Index count, Index stride, const T* rows, T* out) {
  using V = Vec<T>;
  const FlushDenormals flush;
  for_each_in_groups<T>(range.size(), [&](int, Index i, auto lanes) FUSEDLSTM_INLINE {
    const T* row = rows + range.begin + i;
    V sum(0);
    for (Index b = 0; b < count; ++b, row += stride) sum = sum + V::load(row, lanes);
    sum.store(out + range.begin + i, lanes);
  });
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
