// CUDA's qualifiers, built-in variables, barriers and warp functions.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "runtime.h"
#include "types.h"

// A kernel must not be merged into its launch, whose own reads are not those of a thread.
#define __global__ __attribute__((noinline))
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
// Its own for each block; see image.h.
#define __shared__ static thread_local
#define __constant__ static const
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))
#define __restrict__ __restrict

// Constants as far as one thread can see, so that compilers need not announce reads of them.
extern const uint3 threadIdx asm("simt_thread_index");
extern const uint3 blockIdx asm("simt_block_index");
extern const uint3 blockDim asm("simt_block_size");
extern const uint3 gridDim asm("simt_grid_size");
constexpr int warpSize = 32;

inline void __syncthreads(SIMT_SITE) { simt::block_barrier("__syncthreads", simt::Vote::none, 0, SIMT_HERE); }
inline int __syncthreads_and(int predicate, SIMT_SITE) {
  return simt::block_barrier("__syncthreads_and", simt::Vote::all, predicate, SIMT_HERE);
}
inline int __syncthreads_or(int predicate, SIMT_SITE) {
  return simt::block_barrier("__syncthreads_or", simt::Vote::any, predicate, SIMT_HERE);
}
inline int __syncthreads_count(int predicate, SIMT_SITE) {
  return simt::block_barrier("__syncthreads_count", simt::Vote::count, predicate, SIMT_HERE);
}
inline void __syncwarp(unsigned mask = 0xffffffff, SIMT_SITE) { simt::warp_barrier(mask, SIMT_HERE); }
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __nanosleep(unsigned) { simt::yield(); }

namespace simt {

template <class T>
T shuffle(const char* name, unsigned mask, T value, int source, int width, Site site) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8, "up to 8 bytes are exchanged");
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = exchange(name, mask, bits, source,
                  static_cast<std::uint32_t>(width << 8 | static_cast<int>(sizeof(T))), site);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

inline int lane() {
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  return static_cast<int>(thread % 32);
}
inline unsigned existing(unsigned mask) {
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const unsigned left = blockDim.x * blockDim.y * blockDim.z - thread / 32 * 32;
  return left < 32 ? mask & ((1u << left) - 1) : mask;
}

}  // namespace simt

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, SIMT_SITE) {
  const int first = simt::lane() & ~(width - 1);
  return simt::shuffle("__shfl_sync", mask, value, first + (source & (width - 1)), width, SIMT_HERE);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, SIMT_SITE) {
  const int lane = simt::lane();
  const int source = lane - static_cast<int>(delta);
  const bool inside = source >= (lane & ~(width - 1));
  return simt::shuffle("__shfl_up_sync", mask, value, inside ? source : lane, width, SIMT_HERE);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, SIMT_SITE) {
  const int lane = simt::lane();
  const int source = lane + static_cast<int>(delta);
  const bool inside = source <= (lane | (width - 1));
  return simt::shuffle("__shfl_down_sync", mask, value, inside ? source : lane, width, SIMT_HERE);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, SIMT_SITE) {
  const int lane = simt::lane();
  const int source = lane ^ lanes;
  const bool inside = source <= (lane | (width - 1));
  return simt::shuffle("__shfl_xor_sync", mask, value, inside ? source : lane, width, SIMT_HERE);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, SIMT_SITE) {
  return simt::ballot("__ballot_sync", mask, predicate, SIMT_HERE);
}
inline int __any_sync(unsigned mask, int predicate, SIMT_SITE) {
  return simt::ballot("__any_sync", mask, predicate, SIMT_HERE) != 0;
}
inline int __all_sync(unsigned mask, int predicate, SIMT_SITE) {
  return simt::ballot("__all_sync", mask, predicate, SIMT_HERE) == simt::existing(mask);
}
