// The rounding of a product's left operand, by the type of the weights.
#pragma once

#include "integer.h"
#ifdef __AMX_BF16__
  #include "operand_tiles.h"
#else
  #include "pairs.h"
#endif
#ifdef __AMX_INT8__
  #include "byte_tiles.h"
#else
  #include "byte_products.h"
#endif

namespace fusedlstm::FUSEDLSTM_ISA {

// Weights that are widened, or are as wide as the left operand.
template <class W>
struct Rounding {
  struct Rows {};
  using Unit = NoUnit;
};

template <>
struct Rounding<std::int8_t> {
  using Rows = IntegerRows;
  using Unit = NoUnit;
};

template <>
struct Rounding<BFloat16Operand> {
  using Rows = OperandRows;
  using Unit = OperandUnit;
};

template <>
struct Rounding<Int8Operand> {
  using Rows = ByteRows;
  using Unit = ByteUnit;
};

// Rows of the largest tile.
template <class T, class W>
inline constexpr Index most_tile_rows = Tile<T>::rows;
template <class T>
inline constexpr Index most_tile_rows<T, BFloat16Operand> = operand_tile_rows;
template <class T>
inline constexpr Index most_tile_rows<T, Int8Operand> = byte_tile_rows;

}  // namespace fusedlstm::FUSEDLSTM_ISA
