// Work that is cut into even shares, without phases.
#pragma once

#include <algorithm>

#include "kernels.h"

namespace fusedlstm {

// Calls body(range, worker) on shares of [0, total); small work, less than two `grain`s, stays on one thread.
// The body asks the worker whether to go on.
template <class Body>
int parallel_shares(Index total, Index grain, const Body& body) {
  TeamLease team(
      {.threads = static_cast<int>(std::clamp<Index>(total / std::max<Index>(grain, 1), 1, num_threads()))});
  team.run([&](Worker& worker) {
    const auto work = [&](int share) {
      Worker alone = Worker::alone(worker);
      body(share_of(total, share, team.count()), alone);
    };
    worker.phase(team.count(), work, true);
  });
  return team.count();
}

// Elements below which one thread is faster.
inline constexpr Index elementwise_grain = 32'768;
// As many operations as what a grain of elements costs, at the least, takes time.
inline constexpr Index grain_operations = 2'000'000;

// The same for a body(range) of parts that do not depend on each other. In an interruptible call it gets
// pieces of a grain, between which the worker is asked.
template <class Body>
int parallel(Index total, Index grain, const Body& body) {
  return parallel_shares(total, grain, [&](Range range, Worker& worker) {
    const Index most = worker.interruptible() ? std::max<Index>(grain, 1) : range.size();
    for (Index begin = range.begin; begin < range.end; begin += most) {
      body(Range{begin, std::min(begin + most, range.end)});
      if (worker.stopped(grain_operations)) return;
    }
  });
}

// The same for the panels, of so many columns, of a matrix of K rows: calls body(panel, rows) for blocks of
// rows that take a fraction of a millisecond.
template <class Body>
int parallel_panels(Index panels, Index K, Index columns, const Body& body) {
  constexpr Index most_rows = 4096;
  const Index blocks = (K + most_rows - 1) / most_rows;
  const Index grain = elementwise_grain / (columns * std::clamp<Index>(K, 1, most_rows)) + 1;
  return parallel(panels * blocks, grain, [&](Range range) {
    for (Index item = range.begin; item < range.end; ++item) {
      const Index first = item % blocks * most_rows;
      body(item / blocks, Range{first, std::min(first + most_rows, K)});
    }
  });
}

}  // namespace fusedlstm
