// Weight gradients as products of operands.
#pragma once

#include "gradients.h"
#include "rounding.h"

namespace fusedlstm::FUSEDLSTM_ISA {

// Tiles of features are rows of operands, as long as a block; a panel of the right operand has pairs of the
// block's rows, as a panel of weights has.
struct OperandGradients {
  using V = Vec<float>;
  static constexpr Index block = Tile<float>::block;
  static constexpr Index columns = Tile<float>::columns;
  static constexpr Index rows = operand_tile_rows;
  static constexpr Index features = operand_tile_features;
  static constexpr Index left_size = block * rows / 2;
  static constexpr Index right_size = block * columns / 2;
  static_assert(block % row_multiple<BFloat16Operand> == 0);

  OperandUnit unit;

  static void pack_left(const float* const* block_rows, Index depth, Index m, Index count, float* out) {
    auto* values = reinterpret_cast<std::uint16_t*>(out);
    const Index end = panel_rows<BFloat16Operand>(depth);
#ifdef __AVX512BF16__
    for (Index k = 0; k < end; k += 32) {
      for (Index first = 0; first < count; first += V::width) {
        const auto load = [&](Index row) FUSEDLSTM_INLINE {
          if (row >= depth || block_rows[row] == nullptr) return V(0);
          return V::load(block_rows[row] + m + first, count - first);
        };
        __m512i words[V::width];
        for (int i = 0; i < V::width; ++i) words[i] = pairs_of(load(k + 2 * i), load(k + 2 * i + 1));
        transpose_words(words);
        const Index here = smaller(V::width, count - first);
        for (int i = 0; i < here; ++i) _mm512_storeu_si512(values + (first + i) * block + k, words[i]);
      }
    }
#else
    for (Index k = 0; k < end; ++k) {
      const float* row = k < depth ? block_rows[k] : nullptr;
      for (Index r = 0; r < count; ++r) {
        values[r * block + k] = row != nullptr ? rounded(row[m + r]).bits : std::uint16_t{0};
      }
    }
#endif
  }

  static const BFloat16Operand* right_panel(const RightPanels<float>& right, Index panel,
                                            const GradientBlock<float>& rows_of_block, float* packed) {
    auto* out = reinterpret_cast<std::uint16_t*>(packed);
    const auto load = [&](Index k, int j) FUSEDLSTM_INLINE {
      if (k >= rows_of_block.depth) return V(0);
      return right.load(panel, rows_of_block.pairs[k].s, rows_of_block.pairs[k].b, j);
    };
    for (Index k = 0; k < panel_rows<BFloat16Operand>(rows_of_block.depth); k += 2) {
      for (int j = 0; j < Tile<float>::vectors; ++j, out += 2 * V::width) {
        store_pairs(load(k, j), load(k + 1, j), out);
      }
    }
    return reinterpret_cast<const BFloat16Operand*>(packed);
  }

  void multiply(const float* left, const BFloat16Operand* panel, Index depth, Index count, float* sums) {
    // The rows are only read.
    auto* values = reinterpret_cast<std::uint16_t*>(const_cast<float*>(left));
    multiply_rounded(
        unit, count, depth, OperandRows{values, block}, panel, nullptr, PanelOrder{{0, 1}},
        [](Index, Index) FUSEDLSTM_INLINE { return zeros<float>(); },
        [sums](Index first, Index, Index) FUSEDLSTM_INLINE { return sums + first * columns; },
        [](Index, Index, Index, float*) FUSEDLSTM_INLINE {});
  }
};

}  // namespace fusedlstm::FUSEDLSTM_ISA
