// Products of operands by tile registers.
#pragma once

#include "operands.h"
#include "tiles.h"

namespace fusedlstm::FUSEDLSTM_ISA {

using OperandUnit = TileUnit;

inline constexpr Index operand_tile_rows = two_tiles_rows;
inline constexpr Index operand_tile_features = 16;  // of one tile, when features are rows
inline constexpr ProductCosts operand_costs = tile_costs(sizeof(BFloat16Operand));

inline double operand_multiply_adds(Index rounds) { return tile_multiply_adds(rounds, 32); }

// As multiply, for rows and panels of operands.
template <class Begin, class Place, class Finish>
[[gnu::always_inline]] inline void multiply_rounded(TileUnit& unit, Index rows, Index K,
                                                    const OperandRows& left, const BFloat16Operand* panels,
                                                    const float*, PanelOrder order, const Begin& start,
                                                    const Place& place, const Finish& finish) {
  const Index all = panel_rows<BFloat16Operand>(K);
  for (Index done = 0; done < order.range.size(); ++done) {
    const Index panel = order.at(done);
    for (Index first = 0; first < rows; first += operand_tile_rows) {
      const Index count = smaller(operand_tile_rows, rows - first);
      float* sums = place(first, panel, 0);
      unit.shape(count);
      multiply_tiles(start(first, panel), reinterpret_cast<const char*>(left.values + first * left.stride),
                     left.stride * Index{sizeof(std::uint16_t)}, count,
                     reinterpret_cast<const char*>(panels + panel * all * Tile<float>::columns), all / 32,
                     sums);
      finish(first, panel, count, sums);
    }
  }
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
