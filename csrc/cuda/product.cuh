// The recurrent product of a block of a grid kernel: its slice of the weights, in registers, shared memory
// and global memory as grid_layout.h says, times rows of operands. Partial sums of the eight warps lie in
// shared memory and are added in the order of the warps, so that a result's bits depend on K alone.
#pragma once

#include "formats.cuh"

namespace fusedlstm::cuda {

template <class F, Direction direction, bool options, bool resident>
class Product {
 public:
  using Number = typename F::Number;
  using Sum = typename F::Sum;
  using Word = typename F::Word;
  static constexpr bool resident_weights = resident;
  static constexpr GridTile tile =
      grid_tile(F::tensor_cores, static_cast<int>(sizeof(Number)), direction, options, resident);
  static_assert(tile.chunk == F::chunk && tile.word_bytes == sizeof(Word) && tile.sum_bytes == sizeof(Sum));

  // Shared memory is laid out as: partial sums, pieces of operands, weights. `global` is what the row slice
  // has of the workspace for weights.
  __device__ __forceinline__ Product(const ProductLayout& layout, unsigned char* shared,
                                     unsigned char* global)
      : layout_(layout), shared_(shared), global_(reinterpret_cast<Word*>(global)) {}

  // weight(column, k) of the block's slice, which knows its bounds. Slices that are read anew are `slice`.
  template <class W>
  __device__ __forceinline__ void take(const W& weight, int slice) {
#pragma unroll
    for (int i = 0; i < tile.kept; ++i) {
      // By way of shared memory, where the sums will be: of a loop that is unrolled, all weights and their
      // addresses would want registers at once.
      Word* const own =
          reinterpret_cast<Word*>(shared_) + warp_of_block() * chunk_words + lane_of_warp() * part;
#pragma unroll 1
      for (int t = 0; t < tile.tiles; ++t) write(own + t * 32 * tile.words, made(weight, t, i));
#pragma unroll
      for (int t = 0; t < tile.tiles; ++t) first_[i][t] = read(own + t * 32 * tile.words);
    }
    for (int i = tile.kept; i < layout_.per_warp; ++i) {
#pragma unroll 1
      for (int t = 0; t < tile.tiles; ++t) write(place(i, t, slice), made(weight, t, i));
    }
  }

  // The rows from `operands` on, of which whole groups may be missing. Sums are there after a barrier, and
  // must have been read before the next product.
  __device__ __forceinline__ void multiply(const Number* operands, int active, int slice) {
    const int first_k = warp_of_block() * layout_.per_warp * F::chunk;
    typename F::template Operands<tile.groups, tile.piece> values(operands, layout_.pitch, first_k,
                                                                  layout_.per_warp, active, stage());
    typename F::template Sums<tile.tiles, tile.groups> own;
#pragma unroll
    for (int i = 0; i < pieces_kept * tile.piece; i += tile.piece) {
      if (i < layout_.per_warp) {
        values.fetch(i, layout_.per_warp);
#pragma unroll
        for (int k = 0; k < tile.piece; ++k) {
          if (i + k >= layout_.per_warp) continue;
          if (i + k < tile.kept) {
            own.add(first_[i + k], values, k);
          } else {
            add_read(own, values, i, k, slice);
          }
        }
      }
    }
    for (int i = pieces_kept * tile.piece; i < layout_.per_warp; i += tile.piece) {
      values.fetch(i, layout_.per_warp);
#pragma unroll
      for (int k = 0; k < tile.piece; ++k) {
        if (i + k < layout_.per_warp) add_read(own, values, i, k, slice);
      }
    }
    // To leave out groups that are missing would cost registers; without resident weights they may have no
    // place.
    own.store(sums() + warp_of_block() * plane(), tile.sums_pitch, resident ? tile.groups : active);
  }

  __device__ __forceinline__ Sum sum(int row, int column) const {
    const Sum* const first = sums() + row * tile.sums_pitch + column;
    Sum total = first[0];
#pragma unroll
    for (int warp = 1; warp < grid_warps; ++warp) total += first[warp * plane()];
    return total;
  }

 private:
  struct Words {
    Word v[tile.words];
  };
  // Lanes read words side by side, in accesses of 16 bytes.
  static constexpr int part = 16 / static_cast<int>(sizeof(Word));
  static constexpr int parts = tile.words / part;
  // The last one may hold other chunks too.
  static constexpr int pieces_kept = (tile.kept + tile.piece - 1) / tile.piece;
  static constexpr int chunk_words = tile.tiles * 32 * tile.words;
  static_assert(tile.kept == 0 || tile.chunk_bytes <= tile.rows * tile.sums_pitch * tile.sum_bytes);

  // At once: a constant where registers are scarce.
  __device__ __forceinline__ int groups() const { return resident ? tile.groups : layout_.groups; }
  // Numbers of a warp's partial sums.
  __device__ __forceinline__ int plane() const { return groups() * rows_of_group * tile.sums_pitch; }
  __device__ __forceinline__ int sums_bytes() const { return grid_warps * plane() * tile.sum_bytes; }

  __device__ __forceinline__ Sum* sums() const { return reinterpret_cast<Sum*>(shared_); }
  __device__ __forceinline__ unsigned char* stage() const {
    return shared_ + sums_bytes() + warp_of_block() * groups() * tile.stage_bytes;
  }
  __device__ __forceinline__ Word* kept_in_shared() const {
    return reinterpret_cast<Word*>(shared_ + sums_bytes() + grid_warps * groups() * tile.stage_bytes);
  }

  template <class W>
  __device__ __forceinline__ Words made(const W& weight, int t, int i) const {
    const int k = (warp_of_block() * layout_.per_warp + i) * F::chunk;
    Words words;
#pragma unroll
    for (int e = 0; e < tile.words; ++e) words.v[e] = F::word(weight, t * tile.columns, k, e);
    return words;
  }
  // Of a chunk that is not in registers.
  __device__ __forceinline__ Word* place(int i, int t, int slice) const {
    const int in_chunk = t * 32 * tile.words + lane_of_warp() * part;
    if (resident && i < tile.kept + layout_.in_shared) {
      const int chunk = warp_of_block() * layout_.in_shared + i - tile.kept;
      return kept_in_shared() + chunk * chunk_words + in_chunk;
    }
    const int rest = layout_.per_warp - tile.kept - layout_.in_shared;
    const Index chunk = (static_cast<Index>(slice) * grid_warps + warp_of_block()) * rest +
                        (i - tile.kept - layout_.in_shared);
    return global_ + chunk * chunk_words + in_chunk;
  }
  // Adds chunk i + k, whose weights are not in registers.
  template <class Sums, class Operands>
  __device__ __forceinline__ void add_read(Sums& sums, const Operands& operands, int i, int k,
                                           int slice) const {
    Words words[tile.tiles];
#pragma unroll
    for (int t = 0; t < tile.tiles; ++t) words[t] = read(place(i + k, t, slice));
    sums.add(words, operands, k);
  }
  static __device__ __forceinline__ void write(Word* to, const Words& words) {
#pragma unroll
    for (int number = 0; number < parts; ++number) {
      Pack<Word, part> out;
#pragma unroll
      for (int e = 0; e < part; ++e) out.v[e] = words.v[number * part + e];
      out.store(to + number * 32 * part);
    }
  }
  static __device__ __forceinline__ Words read(const Word* from) {
    Words words;
#pragma unroll
    for (int number = 0; number < parts; ++number) {
      const auto in = Pack<Word, part>::load(from + number * 32 * part);
#pragma unroll
      for (int e = 0; e < part; ++e) words.v[number * part + e] = in.v[e];
    }
    return words;
  }

  // A reference to a kernel's parameter costs no registers.
  const ProductLayout& layout_;
  unsigned char* shared_;
  Word* global_;
  Words first_[tile.kept > 0 ? tile.kept : 1][tile.tiles];
};

}  // namespace fusedlstm::cuda
