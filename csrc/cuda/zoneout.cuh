// Zoneout of the two states of one row's unit, as a kernel's Maker says (cell_maker.cuh); a plain cell has
// none.
#pragma once

#include "../math/zoneout.h"
#include "cell_maker.cuh"

namespace fusedlstm::cuda {

template <class T, class Maker>
class UnitZoneout {
 public:
  using V = Number<T>;

  __device__ __forceinline__ UnitZoneout(const Maker& maker, Index b, Index unit)
      : maker_(maker), b_(b), unit_(static_cast<std::uint32_t>(unit)) {}

  __device__ __forceinline__ bool keeps(ZonedState state) const {
    if constexpr (std::is_same_v<Maker, Plain>) {
      return false;
    } else {
      const Zoneout& zoneout = maker_.options.zoneout;
      return (state == ZonedState::c ? zoneout.c : zoneout.h) > 0;
    }
  }

  // Only where it keeps the state.
  __device__ __forceinline__ KeptShare<V> at(ZonedState state, Index step) const {
    if constexpr (std::is_same_v<Maker, Plain>) {
      return {V(0), false};
    } else {
      const ZoneoutDraws draws(maker_.options.zoneout, state, b_, step);
      if (!draws.drawn) return {V(static_cast<T>(draws.rate)), false};
      return {V(draws.hash(unit_) < draws.threshold ? T(1) : T(0)), true};
    }
  }

 private:
  const Maker& maker_;
  Index b_;
  std::uint32_t unit_;
};

}  // namespace fusedlstm::cuda
