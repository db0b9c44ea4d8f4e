// Zoneout in the cell's epilogue: what a state keeps of its previous value, forward and backward.
#pragma once

#include "hash.h"
#include "vec.h"

namespace fusedlstm::FUSEDLSTM_ISA {

// The share of the previous value in a vector of units.
template <class V>
struct KeptShare {
  V share;
  bool whole;  // each lane's is 1 or 0, and the value that is not taken has no effect, even if it is NaN

  FUSEDLSTM_INLINE V mixed(V previous, V fresh) const {
    if (whole) return where_less(V(0), share, previous, fresh);
    return fma(share, previous, (V(1) - share) * fresh);
  }
  // What goes of a gradient to the previous value, and to the new one.
  FUSEDLSTM_INLINE V to_previous(V d) const { return whole ? where_less(V(0), share, d, V(0)) : share * d; }
  FUSEDLSTM_INLINE V to_fresh(V d) const {
    return whole ? where_less(V(0), share, V(0), d) : (V(1) - share) * d;
  }
};

enum class ZonedState { c, h };

// Zoneout of one state of a batch row at a step, which is counted over the row's real steps.
template <class T>
class RowZoneout {
 public:
  using V = Vec<T>;

  FUSEDLSTM_INLINE RowZoneout(const Zoneout& zoneout, ZonedState state, Index b, Index step)
      : rate_(state == ZonedState::c ? zoneout.c : zoneout.h),
        drawn_(zoneout.drawn),
        threshold_(static_cast<std::uint32_t>(rate_ * 0x1p32)),
        hash_(zoneout.seed, static_cast<std::uint64_t>(b) << 32 |
                                static_cast<std::uint32_t>(2 * step + (state == ZonedState::h ? 1 : 0))) {}

  FUSEDLSTM_INLINE KeptShare<V> of(Index unit) const {
    if (!drawn_) return {V(static_cast<T>(rate_)), false};
    using Shares = typename Lanes<T, V::width>::Type;
    // Lanes of a comparison that holds are -1.
    const auto below = hash_(words_from<V::width>(unit)) < threshold_;
    const Shares shares = -__builtin_convertvector(below, Shares);
    T share[V::width];
    __builtin_memcpy(share, &shares, sizeof share);
    return {V::load(share), true};
  }

 private:
  double rate_;
  bool drawn_;
  std::uint32_t threshold_;
  RunHash hash_;
};

}  // namespace fusedlstm::FUSEDLSTM_ISA
