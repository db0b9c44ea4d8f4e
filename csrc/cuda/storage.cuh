// The number types of arrays, and what they are computed in: 16-bit numbers in float, others as they are.
#pragma once

#include "device.cuh"
#include "sequence.h"

namespace fusedlstm::cuda {

__device__ __forceinline__ float widened(float x) { return x; }
__device__ __forceinline__ double widened(double x) { return x; }
__device__ __forceinline__ float widened(__half x) { return __half2float(x); }
__device__ __forceinline__ float widened(__nv_bfloat16 x) { return __bfloat162float(x); }

__device__ __forceinline__ unsigned bits_of(__half x) { return __half_as_ushort(x); }
__device__ __forceinline__ unsigned bits_of(__nv_bfloat16 x) { return __bfloat16_as_ushort(x); }

template <class T>
__device__ __forceinline__ T from_bits(unsigned bits) {
  if constexpr (std::is_same_v<T, __half>) {
    return __ushort_as_half(static_cast<unsigned short>(bits));
  } else {
    return __ushort_as_bfloat16(static_cast<unsigned short>(bits));
  }
}

// Rounded to nearest, ties to even; infinite beyond float16's range.
template <class T>
__device__ __forceinline__ T narrowed(StateOf<T> x) {
  if constexpr (std::is_same_v<T, __half>) {
    return __float2half_rn(x);
  } else if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return __float2bfloat16_rn(x);
  } else {
    return x;
  }
}

// The bias of a column of pre-activations, in the type of sums: there it is not rounded again.
template <class T>
__device__ __forceinline__ StateOf<T> bias_of(const SequenceForward<T>& p, Index column) {
  return p.bias != nullptr ? widened(__ldg(p.bias + column)) : StateOf<T>(0);
}

}  // namespace fusedlstm::cuda
