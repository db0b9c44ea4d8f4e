// Means over a batch row whose columns are spread over blocks: each block's slice leaves its part, and after
// a barrier of the blocks everybody adds the parts. They are added in one order, whatever the layout.
#pragma once

#include "../math/layer_norm.h"
#include "number.cuh"
#include "storage.cuh"

namespace fusedlstm::cuda {

// The sum over `width` neighbouring lanes that have a row's slice, all of which are here.
template <int width, class S>
__device__ __forceinline__ S lanes_sum(S value) {
#pragma unroll
  for (int d = width / 2; d > 0; d /= 2) value += __shfl_xor_sync(0xffffffff, value, d);
  return value;
}

// Two numbers for each slice of each row, (rows, slices, 2).
template <class S>
struct RowParts {
  S* parts;
  int slices;

  __device__ __forceinline__ void put(Index row, int slice, S first, S second) const {
    S* const to = parts + (row * slices + slice) * 2;
    to[0] = first;
    to[1] = second;
  }
  // Past the first-level cache: other blocks wrote them.
  __device__ __forceinline__ S first(Index row, int slice) const {
    return __ldcg(parts + (row * slices + slice) * 2);
  }
  __device__ __forceinline__ S second(Index row, int slice) const {
    return __ldcg(parts + (row * slices + slice) * 2 + 1);
  }
};

// Mean, and sum of squared distances from it, of the values that `width` lanes have, `own` of them each.
template <int width, int own, class S>
__device__ __forceinline__ void put_moments(const RowParts<S>& parts, Index row, int slice, bool writes,
                                            const S (&values)[own], bool exists, int count) {
  S sum(0);
#pragma unroll
  for (int i = 0; i < own; ++i) sum += exists ? values[i] : S(0);
  const S mean = lanes_sum<width>(sum) / static_cast<S>(count);
  S squares(0);
#pragma unroll
  for (int i = 0; i < own; ++i) {
    const S distance = values[i] - mean;
    squares += exists ? distance * distance : S(0);
  }
  squares = lanes_sum<width>(squares);
  if (writes) parts.put(row, slice, mean, squares);
}

// The moments of a row of `total` values, `per_slice` in each slice but the last (Chan, Golub and LeVeque
// 1979, "Updating formulae and a pairwise algorithm for computing sample variances").
template <int width, class S>
__device__ __forceinline__ Moments<Number<S>> row_moments(const RowParts<S>& parts, Index row, bool reads,
                                                          Index total, int per_slice, S epsilon) {
  const int lane = static_cast<int>(threadIdx.x) % width;
  const auto count_of = [&](int slice) {
    const Index left = total - static_cast<Index>(slice) * per_slice;
    return static_cast<S>(left < per_slice ? left : per_slice);
  };
  S sum(0);
  for (int slice = lane; reads && slice < parts.slices; slice += width) {
    sum += count_of(slice) * parts.first(row, slice);
  }
  const S mean = lanes_sum<width>(sum) / static_cast<S>(total);
  S squares(0);
  for (int slice = lane; reads && slice < parts.slices; slice += width) {
    const S distance = parts.first(row, slice) - mean;
    squares += parts.second(row, slice) + count_of(slice) * distance * distance;
  }
  const S variance = lanes_sum<width>(squares) / static_cast<S>(total);
  return {Number<S>(mean), Number<S>(S(1) / ::sqrt(variance + epsilon))};
}

// Means that a row's features have to know of one another on the way back, mean(dn) and mean(n dn): put and
// taken.
template <int width, class S>
__device__ __forceinline__ void put_sums(const RowParts<S>& parts, Index row, int slice, bool writes, S dn,
                                         S n_dn) {
  dn = lanes_sum<width>(dn);
  n_dn = lanes_sum<width>(n_dn);
  if (writes) parts.put(row, slice, dn, n_dn);
}
template <int width, class S>
__device__ __forceinline__ GradientMeans<Number<S>> row_means(const RowParts<S>& parts, Index row, bool reads,
                                                              Index total) {
  const int lane = static_cast<int>(threadIdx.x) % width;
  S dn(0);
  S n_dn(0);
  for (int slice = lane; reads && slice < parts.slices; slice += width) {
    dn += parts.first(row, slice);
    n_dn += parts.second(row, slice);
  }
  const S count = static_cast<S>(total);
  return {Number<S>(lanes_sum<width>(dn) / count), Number<S>(lanes_sum<width>(n_dn) / count)};
}

}  // namespace fusedlstm::cuda
