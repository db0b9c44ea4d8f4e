// How the grid kernels (grid_sequence.h) share a recurrent product among blocks and warps, and where the
// weights are kept. Plain C++: the kernels take their constants from here, and the plan its sizes.
//
// The product of a step is (rows, K) times (K, columns): forward K = H and a unit has four columns, its
// gates; backward K = 4H and a unit has one. Columns are cut into slices, one for each block of a row of the
// grid, and batch rows into row slices, one for each row of the grid. In a block, K is cut into eight runs of
// chunks, one for each warp; a chunk is what a lane reads of a batch row in 16 bytes, times the lanes that
// read side by side. A warp's first chunks of weights stay in registers, the next in shared memory, and the
// rest is read from global memory at every step, by the lane that has written it, in the order it is read in.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../math/cell.h"

namespace fusedlstm::cuda {

enum class Direction : std::uint8_t { forward, backward };

// The work of a block in a step.
//
// narrow: one product of one group of rows, with tensor cores and a plain cell. Where there are
// multiprocessors enough for every slice of every group, a step is nothing but latencies, and a block that
// knows that it has one product keeps in registers what others look up.
//
// wide: one or several products with the same weights, which stay on the multiprocessor as far as they fit.
//
// anew: several products with different weights, which are read anew.
enum class GridForm : std::uint8_t { narrow, wide, anew };

constexpr const char* name_of(GridForm form) {
  return form == GridForm::narrow ? "narrow" : form == GridForm::wide ? "wide" : "anew";
}

constexpr int grid_warps = 8;
constexpr int grid_threads = 32 * grid_warps;
constexpr int rows_of_group = 8;  // batch rows of one tile of a product

// Constants of a kernel.
struct GridTile {
  int chunk;        // numbers of K
  int columns;      // of one tile
  int word_bytes;   // of a weight as a lane keeps it: a number, or two of 16 bits
  int words;        // weights of a lane, for a chunk and tile
  int tiles;        // side by side
  int groups;       // of rows, one above the other
  int kept;         // chunks of weights in registers
  int piece;        // chunks whose operands are on their way at once
  int chains;       // sums of each number, that take products in turn and are added in the end
  int stage_bytes;  // of shared memory for one warp's pieces of a group's operands
  int sum_bytes;    // of a sum
  int slice_columns;
  int rows;
  int chunk_bytes;  // of a chunk's weights in a warp
  int sums_pitch;   // numbers from one row of partial sums to the next
};

// Registers of a thread for weights, of the 255 that it has: as many as leave the rest without a spill on any
// architecture. With tensor cores some are better used for operands, which wait for memory.
constexpr int weight_registers(bool tensor_cores, int number_bytes, Direction direction, bool options,
                               GridForm form) {
  if (form == GridForm::anew) return 0;
  const bool forward = direction == Direction::forward;
  if (form == GridForm::narrow) return number_bytes == 2 ? 128 : forward ? 96 : 112;
  if (tensor_cores) return forward && !options && number_bytes == 2 ? 96 : 64;
  if (forward) return number_bytes == 8 ? 64 : 128;
  return 96;
}

// `tensor_cores` is for numbers of 2 bytes, and of 4 bytes as tf32.
constexpr GridTile grid_tile(bool tensor_cores, int number_bytes, Direction direction, bool options,
                             GridForm form) {
  const bool forward = direction == Direction::forward;
  const bool narrow = form == GridForm::narrow;
  const bool anew = form == GridForm::anew;
  GridTile tile{};
  tile.chunk = (tensor_cores ? 64 : 16) / number_bytes;
  tile.columns = tensor_cores ? 16 : 32;
  tile.word_bytes = tensor_cores ? 4 : number_bytes;
  tile.words = (tensor_cores ? 32 : 16) / tile.word_bytes;
  tile.tiles = (forward ? 64 : narrow ? 16 : 32) / tile.columns;
  // More rows make up for weights that are read anew.
  tile.groups = !tensor_cores ? (anew ? 2 : 1) : narrow ? 1 : anew ? 4 : 2;
  // Forward with 16-bit numbers, a fourth chunk would be one too many for the registers of sm_120.
  tile.piece = !tensor_cores ? 8
               : narrow      ? (forward ? 4 : 8)
               : anew        ? 2
                             : (forward && number_bytes == 2 ? 3 : 4);
  // A backward product of one tile would be one long chain of dependent ones.
  tile.chains = narrow && !forward ? 4 : 1;
  const int chunk_registers = tile.tiles * tile.words * tile.word_bytes / 4;
  tile.kept = weight_registers(tensor_cores, number_bytes, direction, options, form) / chunk_registers;
  tile.slice_columns = tile.tiles * tile.columns;
  tile.rows = tile.groups * rows_of_group;
  tile.chunk_bytes = tile.tiles * 32 * tile.words * tile.word_bytes;
  // Lanes of a fragment write eight neighbours in each of four rows, every second one: in banks of their own.
  tile.sums_pitch = tile.slice_columns + (tensor_cores ? 4 : 0);
  tile.stage_bytes = tensor_cores ? 0 : 2 * rows_of_group * tile.piece * 16;
  tile.sum_bytes = number_bytes == 8 ? 8 : 4;
  return tile;
}

// Shared memory of a block without weights, for products of so many groups of rows: partial sums, and pieces
// of operands. Weights for registers come by way of it, a chunk of each warp.
constexpr std::size_t fixed_bytes(const GridTile& tile, int groups) {
  const int used = groups * (rows_of_group * tile.sums_pitch * tile.sum_bytes + tile.stage_bytes);
  const int passing = tile.kept > 0 ? tile.chunk_bytes : 0;
  return static_cast<std::size_t>(grid_warps) * static_cast<std::size_t>(used > passing ? used : passing);
}

// Groups of rows at once of a kernel that reads its weights anew: the tile's, or as many of them as fit.
constexpr int groups_that_fit(const GridTile& tile, std::size_t shared_per_block) {
  int groups = tile.groups;
  while (groups > 1 && fixed_bytes(tile, groups) > shared_per_block) --groups;
  return groups;
}

// Sizes of one product.
struct ProductLayout {
  int per_warp;   // chunks
  int in_shared;  // of these, in shared memory
  int pitch;      // numbers of a row of operands
  int groups;     // of rows at once: the tile's, or without resident weights as many of these as fit
};

// How a problem lies on the grid. Offsets are of bytes in the workspace, which is all zeros at the launch.
struct GridLayout : ProductLayout {
  int slices;  // of columns
  int slice_units;
  int unit_blocks;  // blocks in a row of the grid
  int row_slices;   // rows of the grid
  int rows;         // batch rows of a row slice
  GridForm form;
  std::size_t shared_bytes;
  std::size_t operands;  // two of (row_slices * rows, pitch), in turn; before them, the barriers' counters
  std::size_t buffer_bytes;  // of each
  std::size_t kept_states;   // backward with options, (B,H) in the type of sums
  std::size_t weights;       // those that are read anew
  std::size_t workspace_bytes;
  int anew;  // chunks of a warp's weights that are read at every step
};

constexpr std::size_t counter_bytes = 128;  // a line of the cache each

// `options` says whether the cell has any. Throws std::invalid_argument where numbers pass what a
// kernel counts with.
GridLayout grid_layout(bool tensor_cores, int number_bytes, Direction direction, bool options, Index batch,
                       Index units, int multiprocessors, std::size_t shared_per_block);

}  // namespace fusedlstm::cuda
