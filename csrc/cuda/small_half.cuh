// Shared by the two kernels of small_half_sequence.h: which cells a lane has, and how pairs of them move.
//
// A warp has 16 units, and its products 16 columns m by 8 batch rows n, where column m is the warp's unit
// m % 8 * 2 + m / 8. So the sums of a lane (ptx.cuh) are those of two neighbouring units of two neighbouring
// rows, and it computes these four cells itself, from registers: of a step, only what the next product
// multiplies passes through shared memory. Four numbers of a lane have unit u and row j at 2 u + j.
//
// K is summed in the order of formats.cuh, whose chunks of 32 a lane reads in 16 bytes.
#pragma once

#include <type_traits>

#include "formats.cuh"
#include "sequence.h"
#include "step.cuh"

namespace fusedlstm::cuda {

constexpr int units_of_warp = 16;

// Two numbers of 16 bits in a register, the first in the lower half.
template <class T>
__device__ __forceinline__ float first_of(unsigned bits) {
  return widened(from_bits<T>(bits & 0xffffu));
}
template <class T>
__device__ __forceinline__ float second_of(unsigned bits) {
  return widened(from_bits<T>(bits >> 16));
}
template <class T>
__device__ __forceinline__ unsigned narrowed_pair(float first, float second) {
  if constexpr (std::is_same_v<T, __half>) {
    const __half2 pair = __floats2half2_rn(first, second);
    return bits_of(pair.x) | bits_of(pair.y) << 16;
  } else {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
    return bits_of(pair.x) | bits_of(pair.y) << 16;
  }
}

// How two neighbours in memory are read and written: in one access, or where they may lie at an odd place,
// one by one. Then the second may not exist; it reads as zero.
template <bool paired>
struct PairAccess {
  bool both;

  // The value to store as the second: zero where it does not exist.
  __device__ __forceinline__ float second(float value) const { return paired || both ? value : 0.0f; }

  template <class T>
  __device__ __forceinline__ unsigned load(const T* at) const {
    static_assert(sizeof(T) == 2);
    if constexpr (paired) {
      return *reinterpret_cast<const unsigned*>(at);
    } else {
      return bits_of(at[0]) | (both ? bits_of(at[1]) << 16 : 0u);
    }
  }
  __device__ __forceinline__ float2 load(const float* at) const {
    if constexpr (paired) {
      return *reinterpret_cast<const float2*>(at);
    } else {
      return make_float2(at[0], both ? at[1] : 0.0f);
    }
  }
  template <class T>
  __device__ __forceinline__ void store(T* at, unsigned bits) const {
    static_assert(sizeof(T) == 2);
    if constexpr (paired) {
      *reinterpret_cast<unsigned*>(at) = bits;
    } else {
      at[0] = from_bits<T>(bits & 0xffffu);
      if (both) at[1] = from_bits<T>(bits >> 16);
    }
  }
  __device__ __forceinline__ void store(float* at, float first, float second) const {
    if constexpr (paired) {
      *reinterpret_cast<float2*>(at) = make_float2(first, second);
    } else {
      at[0] = first;
      if (both) at[1] = second;
    }
  }
};

// The cells of a lane.
template <bool paired>
struct LaneCells {
  int unit;       // the first
  int row;        // the first, in the block
  Index b;        // the first, in the batch
  bool has_unit;  // whether the first exists; the second does with it, or as `access` says
  PairAccess<paired> access;
  bool exists[2];  // by row
  int length[2];   // -1 where there are no such cells

  template <class Problem>
  __device__ __forceinline__ explicit LaneCells(const Problem& p)
      : unit(warp_of_block() * units_of_warp + lane_of_warp() / 4 * 2),
        row(lane_of_warp() % 4 * 2),
        b(static_cast<Index>(blockIdx.x) * rows_of_group + row),
        has_unit(unit < p.units),
        access{unit + 1 < p.units} {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      exists[j] = has_unit && b + j < p.batch;
      length[j] = !exists[j] ? -1 : static_cast<int>(p.lengths != nullptr ? p.lengths[b + j] : p.steps);
    }
  }

  // For what must be read at some unit.
  __device__ __forceinline__ int unit_or_first(int u) const {
    return u == 0 ? (has_unit ? unit : 0) : (access.both ? unit + 1 : 0);
  }

  // The cells' numbers of a (B,H) array, in float; zeros where it is null or there are no such cells.
  template <class T>
  __device__ __forceinline__ void load(float (&values)[4], const T* array, Index units,
                                       float otherwise = 0) const {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      values[j] = values[2 + j] = otherwise;
      if (array == nullptr || !exists[j]) continue;
      const T* const at = array + (b + j) * units + unit;
      if constexpr (sizeof(T) == 2) {
        const unsigned bits = access.load(at);
        values[j] = first_of<T>(bits);
        values[2 + j] = second_of<T>(bits);
      } else {
        const float2 pair = access.load(at);
        values[j] = pair.x;
        values[2 + j] = pair.y;
      }
    }
  }
};

// The longest of the block's rows, of those that exist.
template <class Problem>
__device__ __forceinline__ int longest_of_block(const Problem& p) {
  if (p.lengths == nullptr) return static_cast<int>(p.steps);
  const Index first = static_cast<Index>(blockIdx.x) * rows_of_group;
  Index longest = 0;
#pragma unroll
  for (int row = 0; row < rows_of_group; ++row) {
    if (first + row < p.batch && p.lengths[first + row] > longest) longest = p.lengths[first + row];
  }
  return static_cast<int>(longest);
}

// The operands of a block's products, eight rows of `width` numbers in shared memory, twice: a step writes
// those of the next product while other warps may still read those of this one, so that a step has one
// barrier. Counted in words of two numbers.
//
// Eight lanes at a time read 16 bytes each, four of them of row 2 i and four of row 2 i + 1; and a warp
// writes 32 bytes to each of the rows j, j + 2, j + 4 and j + 6. Neither meets a bank of memory twice where
// rows begin at these places in its 128 bytes.
template <int width>
struct OperandRows {
  static constexpr int pitch = (width / 2 + 24 + 31) / 32 * 32;
  static constexpr int size = rows_of_group * pitch;
  static_assert(width % 32 == 0);

  static __device__ __forceinline__ int row(int n) { return n * pitch + (n / 2 * 2 + n % 2 * 4) % 8 * 4; }

  static __device__ __forceinline__ void clear(unsigned* both) {
    for (int i = static_cast<int>(threadIdx.x); i < 2 * size; i += static_cast<int>(blockDim.x)) both[i] = 0;
  }
  // A chunk of K for a lane.
  static __device__ __forceinline__ uint4 chunk(const unsigned* own, int i) {
    return *reinterpret_cast<const uint4*>(own + i * 16);
  }
};

// A chunk of K: two products, whose weights are words[0] and words[1].
template <class F>
__device__ __forceinline__ void multiply_chunk(float (&sums)[4], const unsigned (&words)[2][4],
                                               const uint4& operands) {
  const unsigned first[2] = {operands.x, operands.y};
  const unsigned second[2] = {operands.z, operands.w};
  F::multiply(sums, words[0], first);
  F::multiply(sums, words[1], second);
}

}  // namespace fusedlstm::cuda
