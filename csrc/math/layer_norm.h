// Layer normalization (Ba, Kiros and Hinton 2016), written once on any number type `V`: for the features x of
// a row, with their mean and variance over the row,
//
//   r = 1 / sqrt(variance + epsilon)      n = (x - mean) r      y = gamma n + beta
//
// and back, with means over the row again,
//
//   dn = gamma dy      dx = r (dn - mean(dn) - n mean(n dn))      dgamma = sum n dy      dbeta = sum dy
#pragma once

#include "../lstm.h"

namespace fusedlstm {

// Moments of a row's features.
template <class V>
struct Moments {
  V mean;
  V scale;  // r
};

template <class V>
FUSEDLSTM_INLINE inline V normalized(V x, const Moments<V>& row) {
  return (x - row.mean) * row.scale;
}

// The means over a row's features that each of them needs on the way back: mean(dn) and mean(n dn).
template <class V>
struct GradientMeans {
  V dn;
  V n_dn;
};

template <class V>
FUSEDLSTM_INLINE inline V through_norm(V dn, V n, V scale, const GradientMeans<V>& row) {
  return scale * (dn - row.dn - n * row.n_dn);
}

}  // namespace fusedlstm
