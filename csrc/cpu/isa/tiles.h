// Products of operands by tile registers (AMX): eight of 16 rows of 64 bytes. An instruction multiplies a
// tile of 16 rows and 32 columns with one of 32 rows of weights and 16 units of a gate, in the time in which
// two tiles are loaded.
#pragma once

#include "../kernels.h"
#include "operands.h"

namespace fusedlstm::FUSEDLSTM_ISA {

// Rows of two tiles, which share the weights' tiles.
inline constexpr Index operand_tile_rows = 32;
inline constexpr Index operand_tile_features = 16;  // of one tile, when features are rows
// Half of a tile of rows takes as long as a whole one. The weights of (64,50,512,512), 2 MiB for its states,
// were read within the time of their arithmetic when each of two threads kept its half of them in L2, and in
// twice that time when each had half of the rows.
inline constexpr ProductCosts operand_costs{.element = sizeof(BFloat16Operand),
                                            .tile_rows = 16,
                                            .large_weights = Index{1} << 20,
                                            .rows_for_large_weights = 128};

// The shape of the tile registers, of which products with other numbers of rows need another.
class OperandUnit {
 public:
  OperandUnit() = default;
  OperandUnit(const OperandUnit&) = delete;
  OperandUnit& operator=(const OperandUnit&) = delete;
  ~OperandUnit() {
    // Registers in use would be saved whenever another thread gets the core.
    if (rows_ > 0) _tile_release();
  }

  // For products of multiply_tiles with so many rows.
  [[gnu::always_inline]] void shape(Index rows) {
    if (rows == rows_) return;
    rows_ = rows;
    Shape shape{};
    shape.palette = 1;
    for (int i = 0; i < 8; ++i) {
      shape.bytes[i] = 64;
      shape.rows[i] = 16;
    }
    const auto set_rows = [&shape](Index count, auto... tiles) {
      ((shape.rows[tiles] = static_cast<std::uint8_t>(count)), ...);
    };
    if (rows <= 16) {
      set_rows(rows, 0, 1, 2, 3, 4);
    } else {
      set_rows(rows - 16, 2, 3, 5);
    }
    asm volatile("" : : "r"(&shape) : "memory");  // GCC 12 believes that 8 bytes of it are read.
    _tile_loadconfig(&shape);
  }

 private:
  // As the instruction reads it.
  struct alignas(64) Shape {
    std::uint8_t palette;
    std::uint8_t start_row;
    std::uint8_t reserved[14];
    std::uint16_t bytes[16];
    std::uint8_t rows[16];
  };
  static_assert(sizeof(Shape) == 64);
  Index rows_ = 0;
};

// As multiply_tile, of up to 32 rows by one panel of 32 `steps` rows.
//
// The intrinsics do not tell GCC 12 that they read memory: everything written before is to be there.
[[gnu::noinline]] inline void multiply_tiles(const Start<float>& start, const std::uint16_t* rows,
                                             Index row_stride, Index count, const BFloat16Operand* panel,
                                             Index steps, float* sums) {
  constexpr Index columns = Tile<float>::columns;
  constexpr Index gate = Vec<float>::width;  // numbers of a row of sums, pairs of a row of weights
  constexpr Index sums_line = columns * Index{sizeof(float)};
  constexpr Index weights_line = 2 * columns * Index{sizeof(BFloat16Operand)};
  constexpr Index step = 32;
  const Index start_line = start.stride * Index{sizeof(float)};
  const Index rows_line = row_stride * Index{sizeof(std::uint16_t)};
  asm volatile("" ::: "memory");
  if (count <= 16) {
    // 0 to 3: the sums of the gates; 4: rows; 5 to 7: weights.
    _tile_loadd(0, start.rows, start_line);
    _tile_loadd(1, start.rows + gate, start_line);
    _tile_loadd(2, start.rows + 2 * gate, start_line);
    _tile_loadd(3, start.rows + 3 * gate, start_line);
    for (Index k = 0; k < steps; ++k, rows += step, panel += step * columns) {
      _tile_loadd(4, rows, rows_line);
      _tile_loadd(5, panel, weights_line);
      _tile_dpbf16ps(0, 4, 5);
      _tile_loadd(6, panel + 2 * gate, weights_line);
      _tile_dpbf16ps(1, 4, 6);
      _tile_loadd(7, panel + 4 * gate, weights_line);
      _tile_dpbf16ps(2, 4, 7);
      _tile_loadd(5, panel + 6 * gate, weights_line);
      _tile_dpbf16ps(3, 4, 5);
    }
    _tile_stored(0, sums, sums_line);
    _tile_stored(1, sums + gate, sums_line);
    _tile_stored(2, sums + 2 * gate, sums_line);
    _tile_stored(3, sums + 3 * gate, sums_line);
  } else {
    // Two gates at a time. 0 and 1: their sums of the first 16 rows; 2 and 3: of the others; 4 and 5: rows.
    const float* lower_start = start.rows + 16 * start.stride;
    float* lower_sums = sums + 16 * columns;
    for (Index j = 0; j < 4; j += 2) {
      const BFloat16Operand* weights = panel + j * 2 * gate;
      const std::uint16_t* upper = rows;
      const std::uint16_t* lower = rows + 16 * row_stride;
      _tile_loadd(0, start.rows + j * gate, start_line);
      _tile_loadd(1, start.rows + (j + 1) * gate, start_line);
      _tile_loadd(2, lower_start + j * gate, start_line);
      _tile_loadd(3, lower_start + (j + 1) * gate, start_line);
      for (Index k = 0; k < steps; ++k, upper += step, lower += step, weights += step * columns) {
        _tile_loadd(6, weights, weights_line);
        _tile_loadd(4, upper, rows_line);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, weights + 2 * gate, weights_line);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, lower, rows_line);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
      _tile_stored(0, sums + j * gate, sums_line);
      _tile_stored(1, sums + (j + 1) * gate, sums_line);
      _tile_stored(2, lower_sums + j * gate, sums_line);
      _tile_stored(3, lower_sums + (j + 1) * gate, sums_line);
    }
  }
  asm volatile("" ::: "memory");
}

// As multiply_adds, of operands.
[[gnu::noinline]] inline double operand_multiply_adds(Index rounds) {
  constexpr int unroll = 4;
  OperandUnit unit;
  unit.shape(operand_tile_rows);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (Index i = 0; i < rounds; ++i) {
    for (int u = 0; u < unroll; ++u) {
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  return 4.0 * unroll * 2 * 16 * 16 * 32 * static_cast<double>(rounds);
}

// As multiply, for rows and panels of operands.
template <class Begin, class Place, class Finish>
[[gnu::always_inline]] inline void multiply_rounded(OperandUnit& unit, Index rows, Index K,
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
      multiply_tiles(start(first, panel), left.values + first * left.stride, left.stride, count,
                     panels + panel * all * Tile<float>::columns, all / 32, sums);
      finish(first, panel, count, sums);
    }
  }
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
