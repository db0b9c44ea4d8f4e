// How a sequence is divided among threads and cut into pieces that stay in cache.
#pragma once

#include <algorithm>

#include "kernels.h"

namespace fusedlstm {

// A second thread that is awake takes about a quarter of a microsecond to join a call and to leave it, and a
// tenth to meet at a barrier: less work than this per thread, in a call and in a step, it does not repay.
inline constexpr Index operations_per_thread = 80'000;
inline constexpr Index step_operations_per_thread = 20'000;
// Calls of fewer operations are over before a sleeping thread is awake; or a while after, so that one that is
// woken for this call alone makes up for what it costs to wake it at best.
inline constexpr Index tiny_operations = 2'000'000;
inline constexpr Index brief_operations = 16'000'000;

inline Length length_of(Index operations) {
  return operations < tiny_operations    ? Length::tiny
         : operations < brief_operations ? Length::brief
                                         : Length::ample;
}

inline Index panels_of(Index columns, Index columns_per_panel) {
  return (columns + columns_per_panel - 1) / columns_per_panel;
}

struct SequencePlan {
  bool units_split = false;  // else the batch is
  Index row_block = 1;
  Index chunk = 1;
  bool joined = false;  // forward: the input's and the recurrent part of a step are one product
};

inline Index recurrent_bytes(const Sizes& n, const ProductCosts& costs) {
  return kGates * n.units * n.outputs * costs.element;
}

inline bool has_large_weights(const Sizes& n, const ProductCosts& costs) {
  return recurrent_bytes(n, costs) > costs.large_weights;
}

// Rows that a thread wants: a tile, or enough to hide the reading of weights behind arithmetic.
inline Index wanted_rows(const Sizes& n, const ProductCosts& costs) {
  if (has_large_weights(n, costs)) return costs.rows_for_large_weights;
  const bool medium = recurrent_bytes(n, costs) > costs.medium_weights;
  return medium ? std::max(costs.tile_rows, costs.rows_for_medium_weights) : costs.tile_rows;
}

// A thread with fewer rows takes a share of the units instead, so that all threads together read the weights
// once; unless there are even fewer panels of them than rows.
inline bool splits_units(const Sizes& n, const ProductCosts& costs, Index panels, Index threads) {
  return threads > 1 && n.batch < threads * wanted_rows(n, costs) &&
         std::min(threads, panels) >= std::min(threads, n.batch);
}

// The threads, of `limit`, that a sequence with that many real (row, step) pairs is worth. `panels` are what
// threads can split when they split units.
inline Job sequence_job(const Sizes& n, Index real_steps, const ProductCosts& costs, Index panels,
                        int limit) {
  const Index operations = 2 * kGates * n.units * (n.inputs + n.outputs) * real_steps;
  const Index step_operations = operations / std::max<Index>(n.steps, 1);
  const Index count = std::clamp<Index>(operations / operations_per_thread, 1, limit);
  const Length length = length_of(operations);
  if (!splits_units(n, costs, panels, count)) {
    return {static_cast<int>(std::clamp<Index>(n.batch, 1, count)), length};
  }
  const Index by_step = step_operations / step_operations_per_thread;
  return {static_cast<int>(std::clamp<Index>(std::min(panels, by_step), 1, count)), length};
}

inline SequencePlan plan_sequence(const Sizes& n, const ProductCosts& costs, Index panels, int threads) {
  SequencePlan plan;
  plan.units_split = splits_units(n, costs, panels, threads);
  // Rows that run through time together: enough to reuse each panel while it is in L1, few enough that their
  // states and projections stay in L2.
  constexpr Index most_rows = 96;
  const Index rows = plan.units_split ? n.batch : (n.batch + threads - 1) / threads;
  const Index blocks = std::max<Index>(1, (rows + most_rows - 1) / most_rows);
  plan.row_block = std::max<Index>(1, (rows + blocks - 1) / blocks);
  // Steps projected together, so that the product has rows enough for its tiles, and reads large weights
  // seldom.
  const Index enough_rows = has_large_weights(n, costs) ? 96 : 24;
  plan.chunk = std::clamp<Index>(enough_rows / plan.row_block, 1, std::clamp<Index>(n.steps, 1, max_chunk));
  return plan;
}

// Whether forward gains from one product for both parts of a step, whose sums then stay in registers.
// `block`: of K, what a tile takes without a pause. A step's few rows would read weights that are larger than
// a core's own cache more often than several steps' rows.
inline bool repays_joining(const SequencePlan& plan, const Sizes& n, const ProductCosts& costs, Index block) {
  constexpr Index weights_in_cache = Index{1} << 20;
  const Index K = n.inputs + n.outputs;
  if (plan.row_block < 2 || K > block || has_large_weights(n, costs)) return false;
  return plan.row_block >= costs.tile_rows || kGates * n.units * K * costs.element <= weights_in_cache;
}

}  // namespace fusedlstm
