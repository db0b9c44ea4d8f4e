// Weight gradients: sums over all rows and steps of features^T gate gradients.
#pragma once

#include "denormals.h"
#include "gemm.h"
#include "kernels.h"

namespace fusedlstm::FUSEDLSTM_ISA {

// One block's part of a row of the result: stored by the first block, added by the others.
template <class T>
[[gnu::always_inline]] inline void add_row(T* out, const T* part, Index width, bool first) {
  using V = Vec<T>;
  const auto add = [&](int j, auto lanes) FUSEDLSTM_INLINE {
    const V own = V::load(part + j * V::width);
    const V total = first ? own : V::load(out + j * V::width, lanes) + own;
    total.store(out + j * V::width, lanes);
  };
  if (width == Tile<T>::columns) {
    for (int j = 0; j < Tile<T>::vectors; ++j) add(j, AllLanes{});
  } else {
    for (int j = 0; j < Tile<T>::vectors && j * V::width < width; ++j) add(j, width - j * V::width);
  }
}

// Rows and steps are taken in blocks, from the last to the first as backward comes to them: each block's sum
// starts at zero and is added to the total, which keeps rounding errors of long sums small and their order
// fixed. Both operands of a block are packed, since their rows lie far apart (often by a power of two, which
// would crowd them into a few sets of the cache): the right one a panel at a time, the left one in tiles
// (tiles, block, tile rows) of features. A panel takes a group of blocks at a visit, so that its part of the
// gradients, which may be far larger than the cache, comes from memory once for all of them.
template <class T>
void weight_gradients(const WeightGradientProblem<T>& p, Range tiles, Range bias_panels, T* scratch) {
  using V = Vec<T>;
  constexpr int R = Tile<T>::rows;
  constexpr Index columns = Tile<T>::columns;
  constexpr Index block = Tile<T>::block;
  const FlushDenormals flush;
  const Index N = p.columns;
  const Index panels = divide_up(N, columns);
  const Index block_size = tiles.size() * block * R;  // of the packed left operand
  T* right = scratch;
  T* left = scratch + block * columns;
  const T* right_rows[gradient_group][block];
  Index depths[gradient_group];
  Index blocks = 0;
  bool first = !p.accumulate;

  // Calls body(operand, which, first feature, features, place in the share) for every tile of the share.
  const auto for_each_left_tile = [&](const auto& body) FUSEDLSTM_INLINE {
    Index tile = 0;
    for (int i = 0; i < p.left_count; ++i) {
      for (Index m = 0; m < p.left[i].count; m += R, ++tile) {
        if (tile >= tiles.begin && tile < tiles.end) {
          body(p.left[i], i, m, smaller(R, p.left[i].count - m), tile - tiles.begin);
        }
      }
    }
  };

  const auto pack_left = [&](Range steps, Range batch_rows) {
    const T* left_rows[2][block];
    Index depth = 0;
    for (Index s = steps.begin; s < steps.end; ++s) {
      for (Index b = batch_rows.begin; b < batch_rows.end; ++b) {
        if (p.timeline.length(b) <= s) continue;
        right_rows[blocks][depth] = p.right + (s * p.batch + b) * N;
        for (int i = 0; i < p.left_count; ++i) left_rows[i][depth] = p.left[i].at(p.timeline, b, s);
        ++depth;
      }
    }
    depths[blocks] = depth;
    for_each_left_tile([&](const Features<T>&, int which, Index m, Index count, Index index) {
      T* out = left + blocks * block_size + index * block * R;
      for (Index k = 0; k < depth; ++k, out += R) {
        const T* row = left_rows[which][k];
        if (row != nullptr && count == R) {
          __builtin_memcpy(out, row + m, R * sizeof(T));
        } else {
          for (Index r = 0; r < R; ++r) out[r] = row != nullptr && r < count ? row[m + r] : T(0);
        }
      }
    });
  };

  // Packs one panel of a block's right operand; and sums its columns.
  const auto pack_right = [&](Index panel, Index which, T* column_sums) FUSEDLSTM_INLINE {
    const Index width = smaller(columns, N - panel * columns);
    V sums[Tile<T>::vectors];
    for (V& sum : sums) sum = V(0);
    for (Index k = 0; k < depths[which]; ++k) {
      const T* source = right_rows[which][k] + panel * columns;
      // The next panel's part of this row, too far from the last row's for the hardware to foresee.
      if (panel + 1 < panels) {
        __builtin_prefetch(source + columns, 0, 2);
        __builtin_prefetch(source + 2 * columns - 1, 0, 2);
      }
      for (int j = 0; j < Tile<T>::vectors; ++j) {
        const Index lanes = width - j * V::width;
        const V value = lanes > 0 ? V::load(source + j * V::width, lanes) : V(0);
        value.store(right + k * columns + j * V::width);
        sums[j] = sums[j] + value;
      }
    }
    for (int j = 0; j < Tile<T>::vectors; ++j) sums[j].store(column_sums + j * V::width);
  };

  const auto add_blocks = [&] {
    for (Index panel = 0; panel < panels; ++panel) {
      const Index width = smaller(columns, N - panel * columns);
      for (Index which = 0; which < blocks; ++which) {
        const bool sets = first && which == 0;
        alignas(64) T column_sums[columns];
        pack_right(panel, which, column_sums);
        if (p.bias != nullptr && panel >= bias_panels.begin && panel < bias_panels.end) {
          add_row(p.bias + panel * columns, column_sums, width, sets);
        }
        for_each_left_tile(
            [&](const Features<T>& f, int, Index m, Index count, Index index) FUSEDLSTM_INLINE {
              alignas(64) T sums[R * columns];
              const T* packed = left + which * block_size + index * block * R;
              const Start<T> from[1] = {zeros<T>()};
              multiply_tile<R, 1, T>(from, PackedColumns<T>{packed, R}, right, 0, depths[which], sums);
              for (Index r = 0; r < count; ++r) {
                add_row(f.gradient + (m + r) * N + panel * columns, sums + r * columns, width, sets);
              }
            });
      }
    }
    first = false;
    blocks = 0;
  };

  const GradientBlocks size(p.batch, block);
  for (Index s = (divide_up(p.timeline.steps, size.steps) - 1) * size.steps; s >= 0; s -= size.steps) {
    for (Index b = 0; b < p.batch; b += size.rows) {
      pack_left({s, smaller(s + size.steps, p.timeline.steps)}, {b, smaller(b + size.rows, p.batch)});
      if (++blocks == gradient_group) add_blocks();
    }
  }
  if (blocks == 0 && first) {
    depths[blocks++] = 0;  // Nothing to sum: an empty block leaves zeros.
  }
  if (blocks > 0) add_blocks();
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
