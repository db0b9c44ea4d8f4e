// Zoneout (Krueger et al. 2017), written once on any number type `V`: what a state keeps of its previous
// value, forward and backward, and which draws belong to a batch row and step.
#pragma once

#include "../lstm.h"
#include "hash.h"

namespace fusedlstm {

// The share of the previous value in a vector of units.
template <class V>
struct KeptShare {
  V share;
  bool whole;  // each lane's is 1 or 0, and the value that is not taken has no effect, even if it is NaN

  FUSEDLSTM_INLINE V mixed(V previous, V fresh) const {
    if (whole) return where_less(V(0), share, previous, fresh);
    return fma(share, previous, (V(1) - share) * fresh);
  }
  // The parts of a gradient that go to the previous value, and to the new one.
  FUSEDLSTM_INLINE V to_previous(V d) const { return whole ? where_less(V(0), share, d, V(0)) : share * d; }
  FUSEDLSTM_INLINE V to_fresh(V d) const {
    return whole ? where_less(V(0), share, V(0), d) : (V(1) - share) * d;
  }
};

enum class ZonedState { c, h };

// Zoneout of one state of a batch row at a step, which is counted over the row's real steps. A unit keeps its
// state where `hash` of it is below `threshold`.
struct ZoneoutDraws {
  double rate;
  bool drawn;
  std::uint32_t threshold;
  RunHash hash;

  FUSEDLSTM_INLINE ZoneoutDraws(const Zoneout& zoneout, ZonedState state, Index b, Index step)
      : rate(state == ZonedState::c ? zoneout.c : zoneout.h),
        drawn(zoneout.drawn),
        threshold(static_cast<std::uint32_t>(rate * 0x1p32)),
        hash(zoneout.seed, static_cast<std::uint64_t>(b) << 32 |
                               static_cast<std::uint32_t>(2 * step + (state == ZonedState::h ? 1 : 0))) {}
};

}  // namespace fusedlstm
