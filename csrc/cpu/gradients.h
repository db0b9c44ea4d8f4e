// Weight gradients: sums over all rows and steps of features^T gate gradients.
#pragma once

#include "denormals.h"
#include "gemm.h"
#include "kernels.h"

namespace fusedlstm::FUSEDLSTM_ISA {

// One block's part of a row of the result: stored by the first block, added by the others.
template <class T>
[[gnu::always_inline]] inline void add_row(T* out, const Vec<T> (&part)[Tile<T>::vectors], Index width,
                                           bool first) {
  using V = Vec<T>;
  const auto add = [&](int j, auto lanes) FUSEDLSTM_INLINE {
    const V total = first ? part[j] : V::load(out + j * V::width, lanes) + part[j];
    total.store(out + j * V::width, lanes);
  };
  if (width == Tile<T>::columns) {
    for (int j = 0; j < Tile<T>::vectors; ++j) add(j, AllLanes{});
  } else {
    for (int j = 0; j < Tile<T>::vectors && j * V::width < width; ++j) add(j, width - j * V::width);
  }
}

// Rows and steps are taken in blocks: each block's sum starts at zero and is added to the total, which keeps
// rounding errors of long sums small and their order fixed. Both operands of a block are packed, since their
// rows lie far apart (often by a power of two, which would crowd them into a few sets of the cache): the
// right one a panel at a time, the left one in tiles (tiles, block, tile rows) of features.
template <class T>
void weight_gradients(const WeightGradientProblem<T>& p, Range tiles, Range bias_panels, T* scratch) {
  using V = Vec<T>;
  constexpr int R = Tile<T>::rows;
  constexpr Index columns = Tile<T>::columns;
  constexpr Index block = Tile<T>::block;
  const FlushDenormals flush;
  const Index K = p.batch * p.steps;
  const Index N = p.columns;
  const Index panels = divide_up(N, columns);
  T* right = scratch;
  T* left = scratch + block * columns;

  // Calls body(operand, first feature, features, index in this thread's share) for every tile of the share.
  const auto for_each_left_tile = [&](const auto& body) FUSEDLSTM_INLINE {
    Index tile = 0;
    for (int i = 0; i < p.left_count; ++i) {
      for (Index m = 0; m < p.left[i].count; m += R, ++tile) {
        if (tile >= tiles.begin && tile < tiles.end) {
          body(p.left[i], m, smaller(R, p.left[i].count - m), tile - tiles.begin);
        }
      }
    }
  };

  if (K == 0) {
    for_each_left_tile([&](const Features<T>& f, Index m, Index count, Index) FUSEDLSTM_INLINE {
      for (Index j = 0; j < count * N; ++j) f.gradient[m * N + j] = T(0);
    });
    if (p.bias != nullptr) {
      for (Index j = bias_panels.begin * columns; j < smaller(N, bias_panels.end * columns); ++j)
        p.bias[j] = T(0);
    }
  }

  for (Index k0 = 0; k0 < K; k0 += block) {
    const Index depth = smaller(block, K - k0);

    for_each_left_tile([&](const Features<T>& f, Index m, Index count, Index index) FUSEDLSTM_INLINE {
      T* out = left + index * block * R;
      Index t = k0 / p.batch;
      Index b = k0 % p.batch;
      for (Index k = 0; k < depth; ++k, out += R) {
        const T* row = t >= f.lag            ? f.rows.at(b, t - f.lag)
                       : f.before != nullptr ? f.before + b * f.count
                                             : nullptr;
        if (row != nullptr && count == R) {
          __builtin_memcpy(out, row + m, R * sizeof(T));
        } else {
          for (Index r = 0; r < R; ++r) out[r] = row != nullptr && r < count ? row[m + r] : T(0);
        }
        if (++b == p.batch) {
          b = 0;
          ++t;
        }
      }
    });

    for (Index panel = 0; panel < panels; ++panel) {
      const Index width = smaller(columns, N - panel * columns);
      const T* source = p.right + k0 * N + panel * columns;
      V sums[Tile<T>::vectors] = {V(0), V(0), V(0), V(0)};
      for (Index k = 0; k < depth; ++k) {
        for (int j = 0; j < Tile<T>::vectors; ++j) {
          const Index lanes = width - j * V::width;
          const V value = lanes > 0 ? V::load(source + k * N + j * V::width, lanes) : V(0);
          value.store(right + k * columns + j * V::width);
          sums[j] = sums[j] + value;
        }
      }
      if (p.bias != nullptr && panel >= bias_panels.begin && panel < bias_panels.end) {
        add_row(p.bias + panel * columns, sums, width, k0 == 0);
      }

      for_each_left_tile([&](const Features<T>& f, Index m, Index count, Index index) FUSEDLSTM_INLINE {
        Accumulators<T, R> acc;
        clear_tile<T, R>(acc);
        multiply_add<R, 1, T>(acc, PackedColumns<T>{left + index * block * R, R}, right, 0, depth);
        for (int r = 0; r < R; ++r) {
          if (r < count) add_row(f.gradient + (m + r) * N + panel * columns, acc[r], width, k0 == 0);
        }
      });
    }
  }
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
