// Zoneout in the cell's epilogue, of a vector of units.
#pragma once

#include "../../math/zoneout.h"
#include "hash.h"

namespace fusedlstm::FUSEDLSTM_ISA {

template <class T>
class RowZoneout {
 public:
  using V = Vec<T>;

  FUSEDLSTM_INLINE RowZoneout(const Zoneout& zoneout, ZonedState state, Index b, Index step)
      : draws_(zoneout, state, b, step) {}

  FUSEDLSTM_INLINE KeptShare<V> of(Index unit) const {
    if (!draws_.drawn) return {V(static_cast<T>(draws_.rate)), false};
    using Shares = typename Lanes<T, V::width>::Type;
    // Lanes of a comparison that holds are -1.
    const auto below = draws_.hash(words_from<V::width>(unit)) < draws_.threshold;
    const Shares shares = -__builtin_convertvector(below, Shares);
    T share[V::width];
    __builtin_memcpy(share, &shares, sizeof share);
    return {V::load(share), true};
  }

 private:
  ZoneoutDraws draws_;
};

}  // namespace fusedlstm::FUSEDLSTM_ISA
