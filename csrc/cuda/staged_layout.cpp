#include "staged_layout.h"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

namespace fusedlstm::cuda {
namespace {

constexpr Index divide(Index a, Index b) { return (a + b - 1) / b; }

void check_size(const char* name, Index size) {
  constexpr Index most = std::numeric_limits<int>::max() / 256;
  if (size > most) {
    throw std::invalid_argument(std::string(name) + ": expected at most " + std::to_string(most) + ", got " +
                                std::to_string(size));
  }
}

ProductLayout product_layout(const GridTile& tile, Index depth, int groups) {
  const auto per_warp = static_cast<int>(divide(divide(depth, tile.chunk), grid_warps));
  return {
      .per_warp = per_warp, .in_shared = 0, .pitch = grid_warps * per_warp * tile.chunk, .groups = groups};
}

std::size_t weight_bytes(const GridTile& tile, const ProductLayout& product, Index slices) {
  return static_cast<std::size_t>(slices * product.per_warp) *
         static_cast<std::size_t>(grid_warps * tile.chunk_bytes);
}

}  // namespace

StagedLayout staged_layout(bool tensor_cores, int number_bytes, Direction direction, Index batch, Index units,
                           Index outputs, bool normalized, int multiprocessors,
                           std::size_t shared_per_block) {
  check_size("batch", batch);
  check_size("units", units);
  check_size("projection", outputs);
  if (multiprocessors < 1) {
    throw std::invalid_argument("device: expected a multiprocessor at least, got " +
                                std::to_string(multiprocessors));
  }
  StagedLayout layout{};
  if (batch == 0 || units == 0) return layout;
  const bool forward = direction == Direction::forward;
  const GridTile tile = grid_tile(tensor_cores, number_bytes, direction, true, GridForm::anew);
  const Index slices = divide(units, tile.slice_columns / (forward ? kGates : 1));
  const Index output_slices = divide(outputs, tile.slice_columns);
  layout.slices = static_cast<int>(slices);
  layout.output_slices = static_cast<int>(output_slices);
  const Index most_slices = std::max(slices, output_slices);
  layout.unit_blocks = static_cast<int>(divide(most_slices, divide(most_slices, multiprocessors)));
  const Index groups = divide(batch, rows_of_group);
  const Index room = std::max(1, multiprocessors / layout.unit_blocks);
  const Index groups_each = divide(groups, std::min(groups, room));
  layout.row_slices = static_cast<int>(divide(groups, groups_each));
  layout.rows = static_cast<int>(groups_each * rows_of_group);

  const int at_once = groups_that_fit(tile, shared_per_block);
  const bool projected = outputs > 0;
  const Index hidden = projected ? outputs : units;
  layout.recurrent = product_layout(tile, forward ? hidden : kGates * units, at_once);
  if (projected) layout.projection = product_layout(tile, forward ? units : outputs, at_once);
  layout.shared_bytes = fixed_bytes(tile, at_once);

  std::size_t end = 0;
  const auto place = [&](Index bytes) {
    const std::size_t begin = end;
    end += (static_cast<std::size_t>(bytes) + 255) / 256 * 256;
    return begin;
  };
  const Index rows = static_cast<Index>(layout.row_slices) * layout.rows;
  place(layout.row_slices * static_cast<Index>(counter_bytes));
  layout.operands = place(rows * layout.recurrent.pitch * number_bytes);
  layout.buffer_bytes = end - layout.operands;
  place(rows * layout.recurrent.pitch * number_bytes);
  layout.projection_operands = place(rows * layout.projection.pitch * number_bytes);
  layout.sums = place(normalized ? 2 * rows * slices * 2 * tile.sum_bytes : 0);
  layout.waiting = place(normalized ? rows * 6 * units * tile.sum_bytes : 0);
  layout.kept_states = place(forward ? 0 : batch * hidden * tile.sum_bytes);
  layout.weights = end;
  layout.recurrent_bytes =
      weight_bytes(tile, layout.recurrent, forward || !projected ? slices : output_slices);
  layout.projection_bytes = weight_bytes(tile, layout.projection, forward ? output_slices : slices);
  layout.workspace_bytes =
      end + static_cast<std::size_t>(layout.row_slices) * (layout.recurrent_bytes + layout.projection_bytes);
  return layout;
}

}  // namespace fusedlstm::cuda
