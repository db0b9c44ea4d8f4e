// The recurrent product of a block of a grid kernel: its slice of the weights, in registers, shared memory
// and global memory as grid_layout.h says, times rows of operands. Partial sums of the eight warps lie in
// shared memory and are added in the order of the warps, so that a result's bits depend on K and the form
// alone.
#pragma once

#include "formats.cuh"

namespace fusedlstm::cuda {

template <class F, Direction direction, bool options, GridForm product_form>
class Product {
 public:
  using Number = typename F::Number;
  using Sum = typename F::Sum;
  using Word = typename F::Word;
  static constexpr GridForm form = product_form;
  static constexpr bool resident = form != GridForm::anew;
  static constexpr GridTile tile =
      grid_tile(F::tensor_cores, static_cast<int>(sizeof(Number)), direction, options, form);
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
      // By way of shared memory, where the sums will be, and pieces of operands: of a loop that is unrolled,
      // all weights and their addresses would want registers at once.
      Word* const own =
          reinterpret_cast<Word*>(shared_) + warp_of_block() * chunk_words + lane_of_warp() * part;
#pragma unroll 1
      for (int t = 0; t < tile.tiles; ++t) write(own + t * 32 * tile.words, made(weight, t, i));
#pragma unroll
      for (int t = 0; t < tile.tiles; ++t) first_[i][t] = read(own + t * 32 * tile.words);
    }
    const Others others(*this, slice);
    for (int i = tile.kept; i < layout_.per_warp; ++i) {
      others.with_place(i, [&](Word* to) {
#pragma unroll 1
        for (int t = 0; t < tile.tiles; ++t) write(to + t * 32 * tile.words, made(weight, t, i));
      });
    }
  }

  // The rows from `operands` on, of which whole groups may be missing. Sums are there after a barrier, and
  // must have been read before the next product. `meanwhile()` is called when the first operands have been
  // asked for: what else comes from memory is asked for there, behind them.
  template <class Meanwhile>
  __device__ __forceinline__ void multiply(const Number* operands, int active, int slice,
                                           const Meanwhile& meanwhile) {
    const int count = layout_.per_warp;
    typename F::template Operands<tile.groups, tile.piece> values(
        operands, layout_.pitch, warp_of_block() * count * F::chunk, count, active, stage());
    typename F::template Sums<tile.tiles, tile.groups, tile.chains> own;
    const Others others(*this, slice);
    meanwhile();
#pragma unroll
    for (int i = 0; i < pieces_kept * tile.piece; i += tile.piece) {
      if (i < count) {
        values.expect(i, count);
#pragma unroll
        for (int k = 0; k < tile.piece; ++k) {
          if (i + k >= count) continue;
          if (i + k < tile.kept) {
            own.add(first_[i + k], values, k);
          } else {
            others.add_to(own, values, i, k);
          }
          values.follow(i + k, k, count);
        }
      }
    }
    for (int i = pieces_kept * tile.piece; i < count; i += tile.piece) {
      values.expect(i, count);
#pragma unroll
      for (int k = 0; k < tile.piece; ++k) {
        if (i + k >= count) continue;
        others.add_to(own, values, i, k);
        values.follow(i + k, k, count);
      }
    }
    // To leave out groups that are missing would cost registers; without resident weights they may have no
    // place.
    own.store(sums() + warp_of_block() * plane(), tile.sums_pitch, resident ? tile.groups : active);
  }
  __device__ __forceinline__ void multiply(const Number* operands, int active, int slice) {
    multiply(operands, active, slice, [] {});
  }

  __device__ __forceinline__ Sum sum(int row, int column) const {
    return totals<1>(row, F::template place_of_column<tile.tiles>(column)).v[0];
  }
  // Numbers of shared memory, one for each column, that weights only pass through on their way to registers:
  // a barrier after take() they are the caller's.
  __device__ __forceinline__ Sum* spare() const {
    constexpr int used = grid_warps * tile.rows * tile.sums_pitch * tile.sum_bytes;
    static_assert(form == GridForm::narrow && used % 16 == 0 &&
                  fixed_bytes_of_tile >= used + tile.slice_columns * tile.sum_bytes);
    return reinterpret_cast<Sum*>(shared_ + used);
  }
  // The sums of a unit's gates, when the columns are the slice's four gates.
  struct Gates {
    Sum v[kGates];
  };
  __device__ __forceinline__ Gates gates(int row, int unit) const {
    if constexpr (F::tensor_cores) {
      static_assert(tile.tiles == kGates);
      const auto all = totals<kGates>(row, F::template place_of_column<tile.tiles>(unit));
      return {{all.v[0], all.v[1], all.v[2], all.v[3]}};
    } else {
      constexpr int units = tile.slice_columns / kGates;
      return {
          {sum(row, unit), sum(row, units + unit), sum(row, 2 * units + unit), sum(row, 3 * units + unit)}};
    }
  }

 private:
  template <int count>
  __device__ __forceinline__ Pack<Sum, count> totals(int row, int place) const {
    const Sum* const first = sums() + row * tile.sums_pitch + place;
    auto total = Pack<Sum, count>::load(first);
#pragma unroll
    for (int warp = 1; warp < grid_warps; ++warp) {
      const auto more = Pack<Sum, count>::load(first + warp * plane());
#pragma unroll
      for (int i = 0; i < count; ++i) total.v[i] += more.v[i];
    }
    return total;
  }

  struct Words {
    Word v[tile.words];
  };
  // Lanes read words side by side, in accesses of 16 bytes.
  static constexpr int part = 16 / static_cast<int>(sizeof(Word));
  static constexpr int parts = tile.words / part;
  // The last one may hold other chunks too.
  static constexpr int pieces_kept = (tile.kept + tile.piece - 1) / tile.piece;
  static constexpr int chunk_words = tile.tiles * 32 * tile.words;
  static constexpr std::size_t fixed_bytes_of_tile = fixed_bytes(tile, tile.groups);

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
    return reinterpret_cast<Word*>(shared_ + fixed_bytes_of_tile);
  }

  template <class W>
  __device__ __forceinline__ Words made(const W& weight, int t, int i) const {
    const int k = (warp_of_block() * layout_.per_warp + i) * F::chunk;
    Words words;
#pragma unroll
    for (int e = 0; e < tile.words; ++e) words.v[e] = F::word(weight, t * tile.columns, k, e);
    return words;
  }
  // A lane's weights that are not in registers. Chunks count from the warp's first one, kept or not.
  class Others {
   public:
    __device__ __forceinline__ Others(const Product& product, int slice) {
      const ProductLayout& layout = product.layout_;
      end_in_shared_ = tile.kept + layout.in_shared;
      const int lane = lane_of_warp() * part;
      in_shared_ =
          product.kept_in_shared() + (warp_of_block() * layout.in_shared - tile.kept) * chunk_words + lane;
      const Index before =
          (static_cast<Index>(slice) * grid_warps + warp_of_block()) * (layout.per_warp - end_in_shared_) -
          end_in_shared_;
      anew_ = product.global_ + before * chunk_words + lane;
    }
    // Two calls and not one choice of addresses: a load must know which memory it is from.
    template <class Use>
    __device__ __forceinline__ void with_place(int i, const Use& use) const {
      if (resident && i < end_in_shared_) {
        use(in_shared_ + i * chunk_words);
      } else {
        use(anew_ + i * chunk_words);
      }
    }
    // Adds chunk i + k.
    template <class Sums, class Operands>
    __device__ __forceinline__ void add_to(Sums& sums, const Operands& operands, int i, int k) const {
      with_place(i + k, [&](const Word* from) {
        Words words[tile.tiles];
#pragma unroll
        for (int t = 0; t < tile.tiles; ++t) words[t] = read(from + t * 32 * tile.words);
        sums.add(words, operands, k);
      });
    }

   private:
    Word* in_shared_;
    Word* anew_;
    int end_in_shared_;
  };
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
