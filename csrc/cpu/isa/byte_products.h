// Products of bytes where there are no tile registers.
#pragma once

#include "byte_vectors.h"

namespace fusedlstm::FUSEDLSTM_ISA {

using ByteUnit = NoUnit;

inline constexpr Index byte_tile_rows = Tile<float>::rows;
inline constexpr ProductCosts byte_costs{.element = sizeof(Int8Operand), .tile_rows = Tile<float>::rows};

inline double byte_multiply_adds(Index rounds) { return vector_multiply_adds(rounds); }

// As multiply, for rows and panels of bytes.
template <class Begin, class Place, class Finish>
[[gnu::always_inline]] inline void multiply_rounded(const NoUnit&, Index rows, Index K, const ByteRows& left,
                                                    const Int8Operand* panels, const float* scales,
                                                    PanelOrder order, const Begin& start, const Place& place,
                                                    const Finish& finish) {
  multiply_by_vectors(rows, K, left, panels, scales, order, start, place, finish);
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
