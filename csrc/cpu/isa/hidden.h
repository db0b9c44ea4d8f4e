// The way of h from the cell, or its projection, to the next step, and of the gradient that comes back.
#pragma once

#include "../kernels.h"
#include "zoneout.h"

namespace fusedlstm::FUSEDLSTM_ISA {

// h on its way out: with what zoneout keeps of the one before, and as the next step will see it.
template <bool with_options, class T, class Lanes>
[[gnu::always_inline]] inline void store_hidden(const ForwardProblem<T>& p, Vec<T> h, Index b, Index s,
                                                Index unit, Lanes lanes) {
  using V = Vec<T>;
  const Index R = p.sizes.outputs;
  if (with_options && p.options != nullptr && p.options->zoneout.h > 0) {
    const RowZoneout<T> zoneout(p.options->zoneout, ZonedState::h, b, p.timeline.offset + s);
    const T* previous = s > 0 ? p.hidden(b, s - 1) : p.h0 != nullptr ? p.h0 + b * R : nullptr;
    h = zoneout.of(unit).mixed(previous != nullptr ? V::load(previous + unit, lanes) : V(0), h);
  }
  h.store(p.hidden(b, s) + unit, lanes);
  if (p.recurrent_mask != nullptr) {
    const V mask = V::load(p.recurrent_mask + b * R + unit, lanes);
    (h * mask).store(p.dropped.at(p.timeline, b, s) + unit, lanes);
  }
}

// The gradient of the h that one row's step s made, from the one that comes back through the recurrence,
// unless no step comes later (`last`).
// `with_options` is false for the plain cell alone, which is spared the question.
template <bool with_options, class T>
struct HiddenGradient {
  using V = Vec<T>;
  const Zoneout* zoneout;  // null where it keeps nothing of h
  Index b;
  Index step;
  bool last;
  const T* mask;
  const T* dy;
  const T* dh_last;
  T* kept;

  FUSEDLSTM_INLINE HiddenGradient(const BackwardProblem<T>& p, Index row, Index s, bool is_last)
      : zoneout(with_options && p.options != nullptr && p.options->zoneout.h > 0 ? &p.options->zoneout
                                                                                 : nullptr),
        b(row),
        step(p.timeline.offset + s),
        last(is_last),
        mask(p.recurrent_mask != nullptr ? p.recurrent_mask + b * p.sizes.outputs : nullptr),
        dy(p.dy ? p.dy.at(b, p.timeline.time(b, s)) : nullptr),
        dh_last(last && p.dh != nullptr ? p.dh + b * p.sizes.outputs : nullptr),
        kept(zoneout != nullptr ? p.dh_kept + b * p.sizes.outputs : nullptr) {}

  template <class Lanes>
  FUSEDLSTM_INLINE V operator()(V dh, Index unit, Lanes lanes) const {
    if (mask != nullptr) dh = dh * V::load(mask + unit, lanes);
    if (dy != nullptr) dh = dh + V::load(dy + unit, lanes);
    if (dh_last != nullptr) dh = dh + V::load(dh_last + unit, lanes);
    if (zoneout == nullptr) return dh;
    if (!last) dh = dh + V::load(kept + unit, lanes);
    const KeptShare<V> share = RowZoneout<T>(*zoneout, ZonedState::h, b, step).of(unit);
    share.to_previous(dh).store(kept + unit, lanes);
    return share.to_fresh(dh);
  }
};

}  // namespace fusedlstm::FUSEDLSTM_ISA
