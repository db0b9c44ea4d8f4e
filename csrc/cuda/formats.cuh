// How a warp multiplies a chunk of K: with tensor cores or multiply-adds. Either format has the same parts.
//   Words     a lane's weights for a chunk and one tile of columns; word(weight, column, k, i) makes the i-th
//   Operands  a lane's view of its warp's rows of operands, of which a piece of chunks is on its way at once:
//             expect() before the piece that starts at a chunk, follow() after a chunk has been used
//   Sums      of a warp's chunks, for all tiles of columns and groups of rows; stored as (rows, columns)
// K may be summed in any order, so long as weights and operands agree on it. So in a chunk a lane of tensor
// cores' fragments has neighbours in memory, which it reads in 16 bytes, where the documented order (ptx.cuh)
// would have them apart.
#pragma once

#include "grid_layout.h"
#include "pack.cuh"
#include "storage.cuh"

namespace fusedlstm::cuda {

__device__ __forceinline__ int lane_of_warp() { return static_cast<int>(threadIdx.x) % 32; }
__device__ __forceinline__ int warp_of_block() { return static_cast<int>(threadIdx.x) / 32; }

// __half and __nv_bfloat16; float is for tf32.
template <class T>
struct Mma {
  using Number = T;
  using Sum = float;
  using Word = unsigned;
  static constexpr bool tensor_cores = true;
  static constexpr int chunk = 64 / sizeof(T);

  // As the next step's product reads it.
  static __device__ __forceinline__ T operand(float x) {
    if constexpr (sizeof(T) == 4) {
      return __uint_as_float(to_tf32(x));
    } else {
      return narrowed<T>(x);
    }
  }

  // A word of the tile whose first column is `column`, and of the chunk from k on; weight(column, k).
  template <class W>
  static __device__ __forceinline__ unsigned word(const W& weight, int column, int k, int i) {
    const int lane = lane_of_warp();
    const int m = column + lane / 4 + i % 2 * 8;
    if constexpr (sizeof(T) == 4) {
      return to_tf32(weight(m, k + lane % 4 * 4 + i / 4 * 2 + i % 4 / 2));
    } else {
      const int at = k + lane % 4 * 8 + i / 4 * 4 + i % 4 / 2 * 2;
      return bits_of(weight(m, at)) | bits_of(weight(m, at + 1)) << 16;
    }
  }

  // The place of a column in a row of partial sums. Neighbours of four tiles lie together: the four gates of
  // a unit, which are one access then.
  template <int tiles>
  static __device__ __forceinline__ int place_of_column(int column) {
    return tiles == 4 ? column % 16 * 4 + column / 16 : column;
  }

  static __device__ __forceinline__ void multiply(float (&sums)[4], const unsigned (&a)[4],
                                                  const unsigned (&b)[2]) {
    if constexpr (std::is_same_v<T, __half>) {
      mma_f16(sums, a, b, sums);
    } else if constexpr (std::is_same_v<T, __nv_bfloat16>) {
      mma_bf16(sums, a, b, sums);
    } else {
      mma_tf32(sums, a, b, sums);
    }
  }

  template <int groups, int piece>
  class Operands {
   public:
    // A warp's run of `count` chunks of the rows from `rows` on. `active` groups hold rows that exist.
    __device__ __forceinline__ Operands(const T* rows, int pitch, int first_k, int count, int active,
                                        unsigned char*)
        : from_(rows + lane_of_warp() / 4 * pitch + first_k +
                lane_of_warp() % 4 * (16 / static_cast<int>(sizeof(T)))),
          group_step_(rows_of_group * pitch),
          active_(active) {
#pragma unroll
      for (int k = 0; k < piece; ++k) {
        if (k < count) fetch(k, k);
      }
    }
    __device__ __forceinline__ void expect(int, int) {}
    // Chunk i was the piece's k-th: the next one to take its place is asked for, so that memory never rests.
    __device__ __forceinline__ void follow(int i, int k, int count) {
      if (i + piece < count) fetch(i + piece, k);
    }
    __device__ __forceinline__ bool has(int group) const { return groups == 1 || group < active_; }
    __device__ __forceinline__ const uint4& at(int k, int group) const { return values_[k][group]; }

   private:
    // Past the first-level cache: other blocks wrote it.
    __device__ __forceinline__ void fetch(int i, int k) {
#pragma unroll
      for (int g = 0; g < groups; ++g) {
        if (has(g)) {
          values_[k][g] = __ldcg(reinterpret_cast<const uint4*>(from_ + g * group_step_ + i * chunk));
        }
      }
    }

    const T* from_;
    int group_step_;
    int active_;
    uint4 values_[piece][groups];
  };

  template <int tiles, int groups, int chains>
  class Sums {
   public:
    // Chunk k of a piece.
    template <class Words, class Operands>
    __device__ __forceinline__ void add(const Words (&words)[tiles], const Operands& operands, int k) {
      const int low_chain = 2 * k % chains;
      const int high_chain = (2 * k + 1) % chains;
#pragma unroll
      for (int g = 0; g < groups; ++g) {
        if (!operands.has(g)) continue;
        const uint4& values = operands.at(k, g);
        const unsigned first[2] = {values.x, values.y};
        const unsigned second[2] = {values.z, values.w};
#pragma unroll
        for (int t = 0; t < tiles; ++t) {
          const unsigned* w = words[t].v;
          const unsigned low[4] = {w[0], w[1], w[2], w[3]};
          const unsigned high[4] = {w[4], w[5], w[6], w[7]};
          multiply(sums_[low_chain][t][g], low, first);
          multiply(sums_[high_chain][t][g], high, second);
        }
      }
    }
    // Those of the `active` groups, in the order of place_of_column. Four tiles' are written at once.
    __device__ __forceinline__ void store(float* partial, int pitch, int active) const {
      constexpr int together = tiles == 4 ? 4 : 1;
      const int lane = lane_of_warp();
#pragma unroll
      for (int g = 0; g < groups; ++g) {
        if (g >= active) continue;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int row = g * rows_of_group + lane % 4 * 2 + i % 2;
#pragma unroll
          for (int t = 0; t < tiles; t += together) {
            Pack<float, together> out;
#pragma unroll
            for (int j = 0; j < together; ++j) {
              out.v[j] = sums_[0][t + j][g][i];
#pragma unroll
              for (int chain = 1; chain < chains; ++chain) out.v[j] += sums_[chain][t + j][g][i];
            }
            const int column = t * 16 + lane / 4 + i / 2 * 8;
            out.store(partial + row * pitch + place_of_column<tiles>(column));
          }
        }
      }
    }

   private:
    float sums_[chains][tiles][groups][4] = {};
  };
};

// float and double: a lane has a column of each tile, and reads operands that all lanes want at once.
template <class T>
struct Fma {
  using Number = T;
  using Sum = T;
  using Word = T;
  static constexpr bool tensor_cores = false;
  static constexpr int chunk = widest<T>;

  static __device__ __forceinline__ T operand(T x) { return x; }

  template <int>
  static __device__ __forceinline__ int place_of_column(int column) {
    return column;
  }

  template <class W>
  static __device__ __forceinline__ T word(const W& weight, int column, int k, int i) {
    return weight(column + lane_of_warp(), k + i);
  }

  // Pieces of operands come to the warp's own part of shared memory, one while the one before is used.
  template <int groups, int piece>
  class Operands {
   public:
    __device__ __forceinline__ Operands(const T* rows, int pitch, int first_k, int count, int active,
                                        unsigned char* stage)
        : from_(rows + first_k), pitch_(pitch), active_(active), stage_(reinterpret_cast<T*>(stage)) {
      start(0, count);
    }
    __device__ __forceinline__ void expect(int i, int count) {
      copy_async_wait<0>();
      __syncwarp();
      now_ = stage_ + i / piece % 2 * size();
      start(i + piece, count);
    }
    __device__ __forceinline__ void follow(int, int, int) {}
    __device__ __forceinline__ bool has(int group) const { return group < active_; }
    // A chunk of a row in a group.
    __device__ __forceinline__ Pack<T, chunk> at(int k, int row) const {
      return Pack<T, chunk>::load(now_ + (row * piece + k) * chunk);
    }

   private:
    // Numbers of a piece.
    __device__ __forceinline__ int size() const {
      return (groups == 1 ? 1 : active_) * rows_of_group * piece * chunk;
    }

    __device__ __forceinline__ void start(int i, int count) {
      T* const to = stage_ + i / piece % 2 * size();
      const int left = count - i < piece ? count - i : piece;
      for (int n = lane_of_warp(); n < active_ * rows_of_group * piece; n += 32) {
        const int row = n / piece;
        const int k = n % piece;
        if (k < left) copy_async<16>(to + n * chunk, from_ + row * pitch_ + (i + k) * chunk);
      }
      copy_async_commit();
    }

    const T* from_;
    int pitch_;
    int active_;
    T* stage_;
    const T* now_ = nullptr;
  };

  template <int tiles, int groups, int>
  class Sums {
   public:
    template <class Words, class Operands>
    __device__ __forceinline__ void add(const Words (&words)[tiles], const Operands& operands, int k) {
#pragma unroll
      for (int g = 0; g < groups; ++g) {
        if (!operands.has(g)) continue;
#pragma unroll
        for (int r = 0; r < rows_of_group; ++r) {
          const int row = g * rows_of_group + r;
          const Pack<T, chunk> x = operands.at(k, row);
#pragma unroll
          for (int t = 0; t < tiles; ++t) {
#pragma unroll
            for (int e = 0; e < chunk; ++e) sums_[t][row] = ::fma(x.v[e], words[t].v[e], sums_[t][row]);
          }
        }
      }
    }
    __device__ __forceinline__ void store(T* partial, int pitch, int active) const {
#pragma unroll
      for (int row = 0; row < groups * rows_of_group; ++row) {
        if (row / rows_of_group >= active) continue;
#pragma unroll
        for (int t = 0; t < tiles; ++t) partial[row * pitch + t * 32 + lane_of_warp()] = sums_[t][row];
      }
    }

   private:
    T sums_[tiles][groups * rows_of_group] = {};
  };
};

}  // namespace fusedlstm::cuda
