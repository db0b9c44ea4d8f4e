// Weight gradients: sums over all rows and steps of features^T gate gradients.
#pragma once

#include "../kernels.h"
#include "denormals.h"
#include "gemm.h"

namespace fusedlstm::FUSEDLSTM_ISA {

// (step, row) pairs, of which a block sums as many.
template <class T>
struct GradientBlock {
  struct Pair {
    Index s, b;
  };
  Pair pairs[Tile<T>::block];
  Index depth;
};

// The right operand's panels: where they and their rows lie, and which columns of the gradients they belong
// to.
template <class T>
class RightPanels {
 public:
  using V = Vec<T>;
  static constexpr Index columns = Tile<T>::columns;

  explicit RightPanels(const WeightGradientProblem<T>& p)
      : p_(p),
        row_(p.units > 0 ? columns : p.columns),
        panel_(p.units > 0 ? GateTape(p.timeline.steps, p.batch, V::width).panel_size() : columns) {}

  // Whether rows lie as a packed panel has them.
  bool packed() const { return p_.units > 0 && p_.timeline.lengths == nullptr && p_.rows.size() == p_.batch; }
  const T* at(Index panel, Index s, Index b) const {
    return p_.right + panel * panel_ + (s * p_.batch + b) * row_;
  }

  // Vector j of a row of a panel, zero beyond the columns.
  [[gnu::always_inline]] V load(Index panel, Index s, Index b, Index j) const {
    const T* source = at(panel, s, b) + j * V::width;
    if (p_.units > 0) return V::load(source);
    const Index lanes = p_.columns - panel * columns - j * V::width;
    return lanes > 0 ? V::load(source, lanes) : V(0);
  }

  // Lets one of so many parts of a block's rows come to the cache, of a panel that is going to be packed.
  void prefetch(Index panel, const GradientBlock<T>& block, Index part, Index parts) const {
    if (packed()) return;
    for (Index k = block.depth * part / parts; k < block.depth * (part + 1) / parts; ++k) {
      const T* row = at(panel, block.pairs[k].s, block.pairs[k].b);
      for (Index j = 0; j < columns; j += 64 / Index{sizeof(T)}) __builtin_prefetch(row + j, 0, 2);
    }
  }

  // Calls body(j, first column, lanes) for the vectors of a panel that are not beyond the gradients' columns.
  template <class Body>
  [[gnu::always_inline]] void for_each_vector(Index panel, const Body& body) const {
    const Index first = p_.units > 0 ? panel * V::width : panel * columns;
    const Index step = p_.units > 0 ? p_.units : V::width;
    const Index end = p_.units > 0 ? p_.units : p_.columns;
    for (Index j = 0; j < Tile<T>::vectors; ++j) {
      const Index lanes = p_.units > 0 ? end - first : end - first - j * V::width;
      if (lanes >= V::width) {
        body(j, first + j * step, AllLanes{});
      } else if (lanes > 0) {
        body(j, first + j * step, lanes);
      }
    }
  }

 private:
  const WeightGradientProblem<T>& p_;
  Index row_;
  Index panel_;
};

// One block's part of a row of the result: stored by the first block, added by the others.
template <class T>
[[gnu::always_inline]] inline void add_row(const RightPanels<T>& right, Index panel, const T* part, T* row,
                                           bool first) {
  using V = Vec<T>;
  right.for_each_vector(panel, [&](Index j, Index column, auto lanes) FUSEDLSTM_INLINE {
    const V sum = V::load(part + j * V::width);
    const V total = first ? sum : V::load(row + column, lanes) + sum;
    total.store(row + column, lanes);
  });
}

// Blocks that are packed before they are added: a panel's part of the gradients, which may be far larger than
// the cache, comes from memory once for all of them.
template <class T>
inline constexpr Index gradient_group = Tile<T>::block < 384 ? 4 : 2;

// How blocks are packed and multiplied as they are. The left operand's rows lie far apart (often by a power
// of two, which would crowd them into a few sets of the cache), so that they are packed in tiles (tiles,
// block, tile rows) of features; so is the right one, a panel at a time, unless it is a tape without padding,
// whose panels can be used where they are.
template <class T>
struct FullGradients {
  using V = Vec<T>;
  static constexpr Index rows = Tile<T>::rows;
  static constexpr Index features = 1;  // where tiles may begin: at multiples of it
  static constexpr Index columns = Tile<T>::columns;
  static constexpr Index left_size = Tile<T>::block * rows;  // of a packed tile, in numbers
  static constexpr Index right_size = Tile<T>::block * columns;

  // Features [m, m + count) of the block's rows, of which some may be null.
  static void pack_left(const T* const* block_rows, Index depth, Index m, Index count, T* out) {
    for (Index k = 0; k < depth; ++k, out += rows) {
      const T* row = block_rows[k];
      if (row != nullptr && count == rows) {
        __builtin_memcpy(out, row + m, rows * sizeof(T));
      } else {
        for (Index r = 0; r < rows; ++r) out[r] = row != nullptr && r < count ? row[m + r] : T(0);
      }
    }
  }

  static const T* right_panel(const RightPanels<T>& right, Index panel, const GradientBlock<T>& block,
                              T* packed) {
    if (right.packed()) return right.at(panel, block.pairs[0].s, block.pairs[0].b);
    T* target = packed;
    for (Index k = 0; k < block.depth; ++k, target += columns) {
      for (int j = 0; j < Tile<T>::vectors; ++j) {
        right.load(panel, block.pairs[k].s, block.pairs[k].b, j).store(target + j * V::width);
      }
    }
    return packed;
  }

  // sums (count, columns)
  void multiply(const T* left, const T* panel, Index depth, Index count, T* sums) {
    const PackedColumns<T, rows> packed{left, depth};
    with_tile_rows<rows>(count, [&](auto tile_rows) FUSEDLSTM_INLINE {
      const Start<T> from[1] = {zeros<T>()};
      T* const to[1] = {sums};
      multiply_tile<decltype(tile_rows)::value, 1, T>(from, packed, panel, 0, depth, to);
    });
  }
};

// Rows and steps are taken in blocks, from the last to the first as backward comes to them: each block's sum
// starts at zero and is added to the total, which keeps rounding errors of long sums small and their order
// fixed. `Products` packs and multiplies them.
template <class T, class Products = FullGradients<T>>
void weight_gradients(const WeightGradientProblem<T>& p, const GradientShare& share, T* scratch,
                      Worker& worker) {
  using V = Vec<T>;
  constexpr Index R = Products::rows;
  constexpr Index columns = Tile<T>::columns;
  constexpr Index block_depth = Tile<T>::block;
  constexpr Index group = gradient_group<T>;
  const FlushDenormals flush;
  const RightPanels<T> right(p);
  const Range tiles = share.tiles;
  const Index block_size = tiles.size() * Products::left_size;  // of the packed left operand
  T* packed_right = scratch;
  T* left = packed_right + Products::right_size;
  alignas(64) T finished[R * columns];
  GradientBlock<T> group_blocks[group];
  Index blocks = 0;
  bool first = !p.accumulate;
  Products products;

  // Calls body(operand, which, first feature, features, place in the share) for every tile of the share. An
  // operand's features are dealt to its tiles evenly.
  const auto for_each_left_tile = [&](const auto& body) FUSEDLSTM_INLINE {
    Index tile = 0;
    for (int i = 0; i < p.left_count; ++i) {
      const Index features = p.left[i].count;
      const Index count = divide_up(features, R);
      const auto begin_of = [&](Index own) {
        return smaller(features, divide_up(own * features / count, Products::features) * Products::features);
      };
      for (Index own = 0; own < count; ++own, ++tile) {
        if (tile < tiles.begin || tile >= tiles.end) continue;
        body(p.left[i], i, begin_of(own), begin_of(own + 1) - begin_of(own), tile - tiles.begin);
      }
    }
  };

  const auto pack_left = [&](Range steps, Range batch_rows) {
    const T* left_rows[2][block_depth];
    GradientBlock<T>& block = group_blocks[blocks];
    block.depth = 0;
    for (Index s = steps.begin; s < steps.end; ++s) {
      for (Index b = batch_rows.begin; b < batch_rows.end; ++b) {
        if (p.timeline.length(b) <= s) continue;
        block.pairs[block.depth] = {s, b};
        for (int i = 0; i < p.left_count; ++i) left_rows[i][block.depth] = p.left[i].at(p.timeline, b, s);
        ++block.depth;
      }
    }
    for_each_left_tile([&](const Features<T>&, int which, Index m, Index count, Index index) {
      Products::pack_left(left_rows[which], block.depth, m, count,
                          left + blocks * block_size + index * Products::left_size);
    });
  };

  const auto add_bias = [&](Index panel, const GradientBlock<T>& block, bool sets) {
    V sums[Tile<T>::vectors];
    for (V& sum : sums) sum = V(0);
    for (Index k = 0; k < block.depth; ++k) {
      for (int j = 0; j < Tile<T>::vectors; ++j) {
        sums[j] = sums[j] + right.load(panel, block.pairs[k].s, block.pairs[k].b, j);
      }
    }
    alignas(64) T column_sums[columns];
    for (int j = 0; j < Tile<T>::vectors; ++j) sums[j].store(column_sums + j * V::width);
    add_row(right, panel, column_sums, p.bias, sets);
  };

  const auto add_blocks = [&] {
    for (Index panel = share.panels.begin; panel < share.panels.end; ++panel) {
      for (Index which = 0; which < blocks; ++which) {
        const bool sets = first && which == 0;
        const GradientBlock<T>& block = group_blocks[which];
        const auto* values = Products::right_panel(right, panel, block, packed_right);
        if (p.bias != nullptr && panel >= share.bias_panels.begin && panel < share.bias_panels.end) {
          add_bias(panel, block, sets);
        }
        for_each_left_tile([&](const Features<T>& f, int, Index m, Index count,
                               Index index) FUSEDLSTM_INLINE {
          // Lines of the gradients lie far apart, as do the next block's, and the product leaves time for
          // them to come.
          for (Index r = 0; r < count; ++r) {
            const T* row = f.gradient + (m + r) * p.columns;
            right.for_each_vector(panel, [&](Index, Index column, auto)
                                             FUSEDLSTM_INLINE { __builtin_prefetch(row + column, 1); });
          }
          const bool panel_ends = which + 1 == blocks;
          if (!panel_ends || panel + 1 < share.panels.end) {
            right.prefetch(panel + panel_ends, group_blocks[panel_ends ? 0 : which + 1], index, tiles.size());
          }
          products.multiply(left + which * block_size + index * Products::left_size, values, block.depth,
                            count, finished);
          for (Index r = 0; r < count; ++r) {
            add_row(right, panel, finished + r * columns, f.gradient + (m + r) * p.columns, sets);
          }
        });
      }
      if (worker.stopped(2 * blocks * block_depth * tiles.size() * R * columns)) return;
    }
    first = false;
    blocks = 0;
  };

  const GradientBlocks size(p.rows.size(), block_depth);
  for (Index s = (divide_up(p.timeline.steps, size.steps) - 1) * size.steps; s >= 0; s -= size.steps) {
    for (Index b = p.rows.begin; b < p.rows.end; b += size.rows) {
      pack_left({s, smaller(s + size.steps, p.timeline.steps)}, {b, smaller(b + size.rows, p.rows.end)});
      if (++blocks < group) continue;
      add_blocks();
      if (worker.stopped(0)) return;
    }
  }
  if (blocks == 0 && first) {
    group_blocks[0].pairs[0] = {0, 0};
    group_blocks[blocks++].depth = 0;  // Nothing to sum: an empty block leaves zeros.
  }
  if (blocks > 0) add_blocks();
}

// dp_i = sum dz_i c_prev, dp_f = sum dz_f c_prev, dp_o = sum dz_o c over all real steps and rows: the rows of
// a step first, then the steps from the last to the first.
template <class T>
void peephole_gradients(const BackwardProblem<T>& p, Range panels) {
  using V = Vec<T>;
  const FlushDenormals flush;
  const Index B = p.sizes.batch;
  const Index H = p.sizes.units;
  const GateTape layout(p.timeline.steps, B, V::width);
  for (Index panel = panels.begin; panel < panels.end; ++panel) {
    const Index unit = panel * V::width;
    const Index lanes = H - unit;
    V total[3];
    for (int i = 0; i < 3; ++i) {
      total[i] = p.accumulate ? V::load(p.dpeepholes + i * H + unit, lanes) : V(0);
    }
    for (Index s = p.timeline.steps - 1; s >= 0; --s) {
      V sum[3] = {V(0), V(0), V(0)};
      for (Index b = 0; b < B; ++b) {
        if (p.timeline.length(b) <= s) continue;
        const T* dz = p.gates + layout.place(panel, s, b);
        const V c_prev = V::load(p.cells + (s * B + b) * H + unit, lanes);
        const T* new_cells = p.new_cells != nullptr ? p.new_cells : p.cells + B * H;
        const V c = V::load(new_cells + (s * B + b) * H + unit, lanes);
        sum[0] = fma(V::load(dz), c_prev, sum[0]);
        sum[1] = fma(V::load(dz + V::width), c_prev, sum[1]);
        sum[2] = fma(V::load(dz + 3 * V::width), c, sum[2]);
      }
      for (int i = 0; i < 3; ++i) total[i] = total[i] + sum[i];
    }
    for (int i = 0; i < 3; ++i) total[i].store(p.dpeepholes + i * H + unit, lanes);
  }
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
