// Work that is cut into even shares, without phases.
#pragma once

#include <algorithm>

#include "kernels.h"

namespace fusedlstm {

// Calls body(range) on shares of [0, total); small work, less than two `grain`s, stays on one thread.
template <class Body>
int parallel(Index total, Index grain, const Body& body) {
  TeamLease team(
      {.threads = static_cast<int>(std::clamp<Index>(total / std::max<Index>(grain, 1), 1, num_threads()))});
  team.share([&](int share) { body(share_of(total, share, team.count())); });
  return team.count();
}

// Elements below which one thread is faster.
inline constexpr Index elementwise_grain = 32'768;

}  // namespace fusedlstm
