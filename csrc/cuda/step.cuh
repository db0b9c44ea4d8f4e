// One step of a row's unit, forward and backward, as every kernel of sequences makes it: the cell and zoneout
// of its two states, as a kernel's Maker says (cell_maker.cuh), and what peepholes get of gradients. An
// option that mixes states is written here, once for each direction. V is the kernel's CellNumber.
#pragma once

#include <utility>

#include "../math/zoneout.h"
#include "cell_maker.cuh"

namespace fusedlstm::cuda {

// Gates in the order of memory: of at(gate), and to body(gate, value).
template <class V, class At>
__device__ __forceinline__ Gates<V> gates_of(const At& at) {
  static_assert(kGates == 4);
  return {V(at(0)), V(at(1)), V(at(2)), V(at(3))};
}
template <class V, class Body>
__device__ __forceinline__ void for_each_gate(const Gates<V>& gates, const Body& body) {
  static_assert(kGates == 4);
  body(0, gates.i.v);
  body(1, gates.f.v);
  body(2, gates.g.v);
  body(3, gates.o.v);
}

// The parts of a gradient that zoneout hands to a state's previous value, and to the step's own.
template <class V>
struct Parts {
  V previous;
  V fresh;
};

// Zoneout of the two states; a plain cell has none.
template <class V, class Maker>
class UnitZoneout {
 public:
  __device__ __forceinline__ UnitZoneout(const Maker& maker, Index b, Index unit)
      : maker_(maker), b_(b), unit_(static_cast<std::uint32_t>(unit)) {}

  __device__ __forceinline__ bool keeps(ZonedState state) const {
    if constexpr (has_options<Maker>) {
      const Zoneout& zoneout = maker_.options.zoneout;
      return (state == ZonedState::c ? zoneout.c : zoneout.h) > 0;
    } else {
      return false;
    }
  }

  // A state after the step. Only where zoneout keeps it is its previous value asked for.
  template <class Previous>
  __device__ __forceinline__ V mixed(ZonedState state, Index step, const Previous& previous, V fresh) const {
    return keeps(state) ? share(state, step).mixed(previous(), fresh) : fresh;
  }
  __device__ __forceinline__ Parts<V> parts(ZonedState state, Index step, V gradient) const {
    if (!keeps(state)) return {V(0), gradient};
    const KeptShare<V> kept = share(state, step);
    return {kept.to_previous(gradient), kept.to_fresh(gradient)};
  }

 private:
  __device__ __forceinline__ KeptShare<V> share(ZonedState state, Index step) const {
    if constexpr (has_options<Maker>) {
      const ZoneoutDraws draws(maker_.options.zoneout, state, b_, step);
      if (!draws.drawn) return {V(static_cast<decltype(V::v)>(draws.rate)), false};
      return {draws.hash(unit_) < draws.threshold ? V(1) : V(0), true};
    } else {
      return {V(0), false};
    }
  }

  const Maker& maker_;
  Index b_;
  std::uint32_t unit_;
};

template <class V>
struct Stepped {
  Gates<V> gates;
  V made;  // c before zoneout, of which h is made
  V c;
};

template <class V>
struct SteppedBack {
  Gates<V> z;   // gradients of the four pre-activations
  V c_prev;     // gradient of the c before the step
  V to_h_prev;  // what zoneout adds to the gradient of the h before the step
  V made;       // c before zoneout
};

template <class V, class Maker>
class Step {
 public:
  __device__ __forceinline__ Step(const Maker& maker, Index b, Index unit, Index units)
      : cell_(maker.cell(unit, units)), zoneout_(maker, b, unit) {}
  // For backward.
  __device__ __forceinline__ Step(const Maker& maker, const ThreadClip<V, Maker>& clip, Index b, Index unit,
                                  Index units)
      : Step(maker, b, unit, units) {
    clip.give(cell_);
  }

  __device__ __forceinline__ const auto& cell() const { return cell_; }
  __device__ __forceinline__ bool keeps(ZonedState state) const { return zoneout_.keeps(state); }

  __device__ __forceinline__ Stepped<V> forward(const Gates<V>& z, V c_prev, Index step) const {
    const CellValues<V> values = cell_forward(cell_, z, c_prev);
    return {values.gates, values.c, zoneout_.mixed(ZonedState::c, step, [&] { return c_prev; }, values.c)};
  }
  // h of what forward() returned, unless a kernel normalizes or projects on the way to it.
  template <class Previous>
  __device__ __forceinline__ V hidden(const Stepped<V>& now, Index step, const Previous& h_prev) const {
    return zoneout_.mixed(ZonedState::h, step, h_prev, hidden_state(cell_, now.gates.o, now.made));
  }

  // `dh` and `dc` are what flows into the step's h and c from everything after it, and `c` is the step's.
  __device__ __forceinline__ SteppedBack<V> backward(const Gates<V>& gates, V c_prev, V c, V dh, V dc,
                                                     Index step) const {
    const Parts<V> h = zoneout_.parts(ZonedState::h, step, dh);
    const V made = made_c(gates, c_prev, c);
    const CellGradients<V> d = through_c(dc, step, [&](V fresh) {
      return cell_backward(cell_, gates, c_prev, made, cell_.output(made), h.fresh, fresh);
    });
    return {d.z, d.c_prev, h.previous, made};
  }

  // Two parts of it for kernels with something between c and h. c as the step made it:
  __device__ __forceinline__ V made_c(const Gates<V>& gates, V c_prev, V c) const {
    return keeps(ZonedState::c) ? new_cell(cell_, gates.i, gates.f, gates.g, c_prev) : c;
  }
  // and the way from dc to the step before, which through(dc of the made c) leads through the cell.
  template <class Through>
  __device__ __forceinline__ CellGradients<V> through_c(V dc, Index step, const Through& through) const {
    const Parts<V> parts = zoneout_.parts(ZonedState::c, step, dc);
    CellGradients<V> d = through(parts.fresh);
    if (keeps(ZonedState::c)) d.c_prev = d.c_prev + parts.previous;
    return d;
  }

 private:
  decltype(std::declval<Maker>().cell(0, 0)) cell_;
  UnitZoneout<V, Maker> zoneout_;
};

// Adds a step's to the gradients of the unit's three peepholes, sum(i).
template <class V, class Sum>
__device__ __forceinline__ void add_peepholes(const Gates<V>& dz, V c_prev, V made, const Sum& sum) {
  sum(0) = ::fma(dz.i.v, c_prev.v, sum(0));
  sum(1) = ::fma(dz.f.v, c_prev.v, sum(1));
  sum(2) = ::fma(dz.o.v, made.v, sum(2));
}

}  // namespace fusedlstm::cuda
