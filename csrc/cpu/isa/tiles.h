// Products by tile registers (AMX): eight of 16 rows of 64 bytes. An instruction multiplies a tile of 16 rows
// with one of as many bytes of weights for 16 units of a gate, in the time in which two tiles are loaded. A
// file is compiled for the instructions of one type of numbers.
#pragma once

#include "../kernels.h"
#include "gemm.h"

// Registers are named by literals.
#ifdef __AMX_INT8__
  #define FUSEDLSTM_MULTIPLY_TILES _tile_dpbusd
#else
  #define FUSEDLSTM_MULTIPLY_TILES _tile_dpbf16ps
#endif

namespace fusedlstm::FUSEDLSTM_ISA {

// Rows of two tiles, which share the weights' tiles.
inline constexpr Index two_tiles_rows = 32;

// Half of a tile of rows takes as long as a whole one. The weights of (64,50,512,512) in bfloat16, 2 MiB for
// its states, were read within the time of their arithmetic when each of two threads kept its half of them in
// L2, and in twice that time when each had half of the rows.
constexpr ProductCosts tile_costs(Index element) {
  return {
      .element = element, .tile_rows = 16, .large_weights = Index{1} << 20, .rows_for_large_weights = 128};
}

// The shape of the tile registers, of which products with other numbers of rows need another.
class TileUnit {
 public:
  TileUnit() = default;
  TileUnit(const TileUnit&) = delete;
  TileUnit& operator=(const TileUnit&) = delete;
  ~TileUnit() {
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

// As multiply_tile, of up to 32 rows, `rows_line` bytes apart, by one panel, 64 `steps` bytes of each. Sums
// are float32, or integers of 32 bits.
//
// The intrinsics do not tell GCC 12 that they read memory: everything written before is to be there.
[[gnu::noinline]] inline void multiply_tiles(const Start<float>& start, const char* rows, Index rows_line,
                                             Index count, const char* panel, Index steps, float* sums) {
  constexpr Index columns = Tile<float>::columns;
  constexpr Index gate = Vec<float>::width;  // numbers of a row of sums, words of a row of weights
  constexpr Index sums_line = columns * Index{sizeof(float)};
  constexpr Index step = 64;                // bytes of a row of a tile
  constexpr Index weights_line = 4 * step;  // of the gates
  const Index start_line = start.stride * Index{sizeof(float)};
  asm volatile("" ::: "memory");
  if (count <= 16) {
    // 0 to 3: the sums of the gates; 4: rows; 5 to 7: weights.
    _tile_loadd(0, start.rows, start_line);
    _tile_loadd(1, start.rows + gate, start_line);
    _tile_loadd(2, start.rows + 2 * gate, start_line);
    _tile_loadd(3, start.rows + 3 * gate, start_line);
    for (Index k = 0; k < steps; ++k, rows += step, panel += 16 * weights_line) {
      _tile_loadd(4, rows, rows_line);
      _tile_loadd(5, panel, weights_line);
      FUSEDLSTM_MULTIPLY_TILES(0, 4, 5);
      _tile_loadd(6, panel + step, weights_line);
      FUSEDLSTM_MULTIPLY_TILES(1, 4, 6);
      _tile_loadd(7, panel + 2 * step, weights_line);
      FUSEDLSTM_MULTIPLY_TILES(2, 4, 7);
      _tile_loadd(5, panel + 3 * step, weights_line);
      FUSEDLSTM_MULTIPLY_TILES(3, 4, 5);
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
      const char* weights = panel + j * step;
      const char* upper = rows;
      const char* lower = rows + 16 * rows_line;
      _tile_loadd(0, start.rows + j * gate, start_line);
      _tile_loadd(1, start.rows + (j + 1) * gate, start_line);
      _tile_loadd(2, lower_start + j * gate, start_line);
      _tile_loadd(3, lower_start + (j + 1) * gate, start_line);
      for (Index k = 0; k < steps; ++k, upper += step, lower += step, weights += 16 * weights_line) {
        _tile_loadd(6, weights, weights_line);
        _tile_loadd(4, upper, rows_line);
        FUSEDLSTM_MULTIPLY_TILES(0, 4, 6);
        _tile_loadd(7, weights + step, weights_line);
        FUSEDLSTM_MULTIPLY_TILES(1, 4, 7);
        _tile_loadd(5, lower, rows_line);
        FUSEDLSTM_MULTIPLY_TILES(2, 5, 6);
        FUSEDLSTM_MULTIPLY_TILES(3, 5, 7);
      }
      _tile_stored(0, sums + j * gate, sums_line);
      _tile_stored(1, sums + (j + 1) * gate, sums_line);
      _tile_stored(2, lower_sums + j * gate, sums_line);
      _tile_stored(3, lower_sums + (j + 1) * gate, sums_line);
    }
  }
  asm volatile("" ::: "memory");
}

// As multiply_adds, by tiles of rows of so many numbers.
[[gnu::noinline]] inline double tile_multiply_adds(Index rounds, Index numbers) {
  constexpr int unroll = 4;
  TileUnit unit;
  unit.shape(two_tiles_rows);
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
      FUSEDLSTM_MULTIPLY_TILES(0, 4, 6);
      FUSEDLSTM_MULTIPLY_TILES(1, 4, 7);
      FUSEDLSTM_MULTIPLY_TILES(2, 5, 6);
      FUSEDLSTM_MULTIPLY_TILES(3, 5, 7);
    }
  }
  return 4.0 * unroll * 2 * 16 * 16 * static_cast<double>(numbers * rounds);
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
