// h of a row's unit, or of its column of a projection, around the steps that make it: before the first, and
// from a row's length on. The grid and the staged kernels share it; `columns` is the size of h.
#pragma once

#include "grid_items.cuh"
#include "step.cuh"

namespace fusedlstm::cuda {

// h before a step, as it is stored.
template <class T>
__device__ __forceinline__ T h_before(const SequenceForward<T>& p, const GridCell& own, Index columns,
                                      int s) {
  if (s > 0) return p.y[(own.b * p.steps + s - 1) * columns + own.unit];
  return p.h0 != nullptr ? p.h0[own.b * columns + own.unit] : T{};
}

// The last h, which y repeats beyond a row's length. All of it is found from the row's y: another address
// would be one too many for the registers of the narrow form.
template <class T>
__device__ __forceinline__ void end_hidden(const SequenceForward<T>& p, const GridCell& own, Index columns) {
  T* const y = p.y + own.b * p.steps * columns + own.unit;
  const T h = own.length > 0 ? y[(own.length - 1) * columns] : h_before(p, own, columns, 0);
  p.h[own.b * columns + own.unit] = h;
  for (Index s = own.length; s < p.steps; ++s) y[s * columns] = p.zero_padding ? T{} : h;
}

// The gradient of a step's h that comes from everything after it; step -1 is h0. After the last step that is
// the caller's gradient of the last h, with those of what y repeats. Otherwise sum() is the product with the
// next step's gradients, and kept_states have what zoneout of the next step added.
template <class T, class Maker, class Sum>
__device__ __forceinline__ StateOf<T> dh_after(const SequenceBackward<T>& p, const Maker& maker,
                                               const GridCell& own, Index columns, int s,
                                               const StateOf<T>* kept_states, const Sum& sum) {
  const Index state = own.b * columns + own.unit;
  if (s + 1 < own.length) {
    StateOf<T> dh = sum();
    if (p.recurrent_mask != nullptr) dh *= widened(p.recurrent_mask[state]);
    if constexpr (has_options<Maker>) {
      if (maker.options.zoneout.h > 0) dh += kept_states[state];
    }
    return dh;
  }
  StateOf<T> dh = p.dh != nullptr ? widened(p.dh[state]) : StateOf<T>(0);
  if (p.dy == nullptr || p.zero_padding) return dh;
#pragma unroll 1
  for (Index t = p.steps - 1; t >= own.length; --t) {
    dh += widened(p.dy[(own.b * p.steps + t) * columns + own.unit]);
  }
  return dh;
}

}  // namespace fusedlstm::cuda
