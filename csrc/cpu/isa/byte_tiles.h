// Products of bytes by tile registers, and by vectors where there are few rows.
#pragma once

#include "byte_vectors.h"
#include "tiles.h"

namespace fusedlstm::FUSEDLSTM_ISA {

using ByteUnit = TileUnit;

inline constexpr Index byte_tile_rows = two_tiles_rows;
inline constexpr ProductCosts byte_costs = tile_costs(sizeof(Int8Operand));

inline double byte_multiply_adds(Index rounds) { return tile_multiply_adds(rounds, 64); }

// As multiply, for rows and panels of bytes with a scale for each of their columns; `start` is added at the
// end. Sums of the panels start from what takes off the rows' offset.
template <class Begin, class Place, class Finish>
[[gnu::always_inline]] inline void multiply_rounded(TileUnit& unit, Index rows, Index K, const ByteRows& left,
                                                    const Int8Operand* panels, const float* scales,
                                                    PanelOrder order, const Begin& start, const Place& place,
                                                    const Finish& finish) {
  // A tile of one row takes as long as one of 16.
  constexpr Index few_rows = 2;
  if (rows <= few_rows) {
    multiply_by_vectors(rows, K, left, panels, scales, order, start, place, finish);
    return;
  }
  constexpr Index columns = Tile<float>::columns;
  const Index all = panel_rows<Int8Operand>(K);
  const Index weights = all - rows_of_sums<Int8Operand>;
  for (Index done = 0; done < order.range.size(); ++done) {
    const Index panel = order.at(done);
    const Int8Operand* of_panel = panels + panel * all * columns;
    const Start<float> offset{reinterpret_cast<const float*>(of_panel + weights * columns), 0};
    for (Index first = 0; first < rows; first += byte_tile_rows) {
      const Index count = smaller(byte_tile_rows, rows - first);
      float* sums = place(first, panel, 0);
      const Start<float> from = start(first, panel);
      unit.shape(count);
      multiply_tiles(offset, reinterpret_cast<const char*>(left.values + first * left.stride), left.stride,
                     count, reinterpret_cast<const char*>(of_panel), weights / 64, sums);
      scale_integers(sums, count, left.scales + first, scales + panel * columns, from);
      finish(first, panel, count, sums);
    }
  }
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
