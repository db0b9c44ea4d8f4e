#include "grid_layout.h"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

namespace fusedlstm::cuda {
namespace {

constexpr Index divide(Index a, Index b) { return (a + b - 1) / b; }
constexpr std::size_t aligned(std::size_t bytes) { return (bytes + 255) / 256 * 256; }

}  // namespace

GridLayout grid_layout(bool tensor_cores, int number_bytes, Direction direction, bool options, Index batch,
                       Index units, int multiprocessors, std::size_t shared_per_block) {
  const bool forward = direction == Direction::forward;
  // A kernel's places in the operands of its rows are int: at most 32 rows of 4H numbers, filled up to
  // chunks.
  constexpr Index most = std::numeric_limits<int>::max() / 256;
  if (units > most) {
    throw std::invalid_argument("units: expected at most " + std::to_string(most) + ", got " +
                                std::to_string(units));
  }
  if (batch > most) {
    throw std::invalid_argument("batch: expected at most " + std::to_string(most) + " rows, got " +
                                std::to_string(batch));
  }
  if (multiprocessors < 1) {
    throw std::invalid_argument("device: expected a multiprocessor at least, got " +
                                std::to_string(multiprocessors));
  }
  GridLayout layout{};
  if (batch == 0 || units == 0) return layout;
  const Index groups = divide(batch, rows_of_group);
  GridTile tile{};
  for (const GridForm form : {GridForm::narrow, GridForm::wide, GridForm::anew}) {
    if (form == GridForm::narrow && (!tensor_cores || options)) continue;
    tile = grid_tile(tensor_cores, number_bytes, direction, options, form);
    layout.form = form;
    layout.slice_units = tile.slice_columns / (forward ? kGates : 1);
    layout.slices = static_cast<int>(divide(units, layout.slice_units));
    if (layout.slices * (form == GridForm::narrow ? groups : 1) <= multiprocessors) break;
  }

  // A block for each multiprocessor, or as few as have no more turns. Rows are split as far as blocks go
  // round, whole groups of them.
  layout.unit_blocks = static_cast<int>(divide(layout.slices, divide(layout.slices, multiprocessors)));
  const Index room = std::max<Index>(1, multiprocessors / layout.unit_blocks);
  const Index groups_each = divide(groups, std::min(groups, room));
  layout.row_slices = static_cast<int>(divide(groups, groups_each));
  layout.rows = static_cast<int>(groups_each * rows_of_group);

  const Index depth = forward ? units : kGates * units;
  layout.per_warp = static_cast<int>(divide(divide(depth, tile.chunk), grid_warps));
  layout.pitch = grid_warps * layout.per_warp * tile.chunk;
  const bool resident = layout.form != GridForm::anew;
  layout.groups = resident ? tile.groups : groups_that_fit(tile, shared_per_block);
  const std::size_t fixed = fixed_bytes(tile, layout.groups);
  const auto chunk_bytes = static_cast<std::size_t>(grid_warps * tile.chunk_bytes);
  if (resident && shared_per_block > fixed) {
    const auto room_for = static_cast<int>((shared_per_block - fixed) / chunk_bytes);
    layout.in_shared = std::clamp(layout.per_warp - tile.kept, 0, room_for);
  }
  layout.shared_bytes = fixed + static_cast<std::size_t>(layout.in_shared) * chunk_bytes;

  const auto rows = static_cast<std::size_t>(layout.row_slices) * static_cast<std::size_t>(layout.rows);
  layout.operands = static_cast<std::size_t>(layout.row_slices) * counter_bytes;
  layout.operands = aligned(layout.operands);
  layout.buffer_bytes =
      aligned(rows * static_cast<std::size_t>(layout.pitch) * static_cast<std::size_t>(number_bytes));
  layout.kept_states = layout.operands + 2 * layout.buffer_bytes;
  const std::size_t states = forward || !options
                                 ? 0
                                 : static_cast<std::size_t>(batch) * static_cast<std::size_t>(units) *
                                       static_cast<std::size_t>(tile.sum_bytes);
  layout.weights = layout.kept_states + aligned(states);
  layout.anew = std::max(0, layout.per_warp - tile.kept - layout.in_shared);
  // Every row slice has a copy of its own, that its blocks write and read without waiting for others.
  layout.workspace_bytes = layout.weights + static_cast<std::size_t>(layout.row_slices) *
                                                static_cast<std::size_t>(layout.slices) *
                                                static_cast<std::size_t>(layout.anew) * chunk_bytes;
  return layout;
}

}  // namespace fusedlstm::cuda
