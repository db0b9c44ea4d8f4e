#include <algorithm>
#include <type_traits>

#include "column_sums.h"
#include "number_types.cuh"
#include "pack.cuh"
#include "rows.cuh"
#include "storage.cuh"

namespace fusedlstm::cuda {
namespace {

// Packs of columns lie along x of a block, so that a warp reads neighbours, and rows along y.
struct SumTraits {
  static constexpr Index most_packs = 32;
  // A thread's: fewer are not worth a range, and the second kernel.
  static constexpr Index least_rows = 8;
  // Blocks that keep a device busy for a few rounds, and ranges that the second kernel's threads add up in a
  // few accesses.
  static constexpr Index most_blocks = 1024;
  static constexpr Index most_ranges = 256;
  // Accesses on their way at once, of 16 bytes or less: some 50 KiB for each multiprocessor.
  static constexpr int in_flight = 4;
  static_assert(threads_for_rows % most_packs == 0);
  static_assert(most_ranges <= 65535, "ranges are along y of the grid");
};

// Neighbouring numbers of a row, as memory has them.
template <class T, int count>
class Columns {
 public:
  __device__ __forceinline__ explicit Columns(const T* from) {
    if constexpr (count == 1) {
      words_[0] = *from;
    } else {
      const auto pack = Pack<Word, words>::load(reinterpret_cast<const Word*>(from));
#pragma unroll
      for (int k = 0; k < words; ++k) words_[k] = pack.v[k];
    }
  }
  __device__ __forceinline__ void add_to(StateOf<T> (&sums)[count]) const {
#pragma unroll
    for (int k = 0; k < count; ++k) sums[k] += value(k);
  }

 private:
  static constexpr bool in_pairs = sizeof(T) == 2 && count > 1;
  static constexpr int words = in_pairs ? count / 2 : count;
  using Word = std::conditional_t<in_pairs, unsigned, T>;

  __device__ __forceinline__ StateOf<T> value(int k) const {
    if constexpr (in_pairs) {
      const auto bits = static_cast<unsigned short>(words_[k / 2] >> (k % 2 * 16));
      if constexpr (std::is_same_v<T, __half>) {
        return widened(__ushort_as_half(bits));
      } else {
        return widened(__ushort_as_bfloat16(bits));
      }
    } else {
      return widened(words_[k]);
    }
  }

  Word words_[words];
};

// Row y of sums, (ranges, columns), is that of the range y.
template <class T, class Sum, int count>
__global__ void __launch_bounds__(threads_for_rows, blocks_for_rows)
    column_sums_kernel(const Index rows, const Index columns, const Index rows_of_range, const T* x,
                       Sum* sums) {
  using S = StateOf<T>;
  constexpr int in_flight = SumTraits::in_flight;
  __shared__ S shared[count][threads_for_rows];
  const Index first = static_cast<Index>(blockIdx.y) * rows_of_range;
  const Index end = min(first + rows_of_range, rows);
  const Index column = (static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x) * count;
  const int stride = static_cast<int>(blockDim.y);
  S totals[count] = {};
  if (column < columns) {
    Index row = first + threadIdx.y;
    const T* from = x + row * columns + column;
    const Index next = stride * columns;
    for (; row + (in_flight - 1) * stride < end; row += in_flight * stride, from += in_flight * next) {
      const Columns<T, count> loaded[in_flight] = {Columns<T, count>(from), Columns<T, count>(from + next),
                                                   Columns<T, count>(from + 2 * next),
                                                   Columns<T, count>(from + 3 * next)};
#pragma unroll
      for (int k = 0; k < in_flight; ++k) loaded[k].add_to(totals);
    }
    for (; row < end; row += stride, from += next) Columns<T, count>(from).add_to(totals);
  }
  // The upper half of the block's rows is added to the lower one, until one row is left.
  const int own = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x);
  for (int half = stride / 2; half > 0; half /= 2) {
    const int y = static_cast<int>(threadIdx.y);
    if (y >= half && y < 2 * half) {
#pragma unroll
      for (int k = 0; k < count; ++k) shared[k][own] = totals[k];
    }
    __syncthreads();
    if (y < half) {
#pragma unroll
      for (int k = 0; k < count; ++k) totals[k] += shared[k][own + half * static_cast<int>(blockDim.x)];
    }
  }
  if (threadIdx.y == 0 && column < columns) {
    Sum* const to = sums + static_cast<Index>(blockIdx.y) * columns + column;
#pragma unroll
    for (int k = 0; k < count; ++k) to[k] = narrowed<Sum>(totals[k]);
  }
}

Index up(Index a, Index b) { return (a + b - 1) / b; }

// How rows are divided among ranges, and in a range among the rows of a block.
struct SumShape {
  dim3 block;
  Index rows_of_range;
  Index ranges;

  SumShape(Index rows, Index packs, Index most_ranges)
      : block(block_for(std::min(packs, SumTraits::most_packs))) {
    const Index most_blocks = std::max<Index>(SumTraits::most_blocks / up(packs, block.x), 1);
    const Index worth_it = std::max<Index>(up(rows, SumTraits::least_rows * block.y), 1);
    rows_of_range = std::max<Index>(up(rows, std::min({worth_it, most_blocks, most_ranges})), 1);
    ranges = std::max<Index>(up(rows, rows_of_range), 1);
  }
};

template <class T>
SumShape shape_of(Index rows, Index columns) {
  const bool packed = columns % widest<T> == 0;
  return {rows, packed ? columns / widest<T> : columns, SumTraits::most_ranges};
}

template <int count, class T, class Sum>
void launch_sums(const SumShape& shape, Index rows, Index columns, const T* x, Sum* sums,
                 cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(up(columns / count, shape.block.x)),
                  static_cast<unsigned>(shape.ranges));
  launch({"column_sums", grid, shape.block, 0, stream}, column_sums_kernel<T, Sum, count>, rows, columns,
         shape.rows_of_range, x, sums);
}

// By accesses as wide as the address allows, which changes no sum.
template <class T, class Sum>
void sum_ranges(const SumShape& shape, Index rows, Index columns, const T* x, Sum* sums,
                cudaStream_t stream) {
  if (in_packs<T>(columns, x)) {
    launch_sums<widest<T>>(shape, rows, columns, x, sums, stream);
  } else {
    launch_sums<1>(shape, rows, columns, x, sums, stream);
  }
}

}  // namespace

template <class T>
Index column_sum_ranges(Index rows, Index columns) {
  return columns == 0 ? 1 : shape_of<T>(rows, columns).ranges;
}

template <class T, class Sum>
void column_sums(const ColumnSums<T, Sum>& p, cudaStream_t stream) {
  if (p.columns == 0) return;
  const SumShape shape = shape_of<T>(p.rows, p.columns);
  if (shape.ranges == 1) {
    sum_ranges(shape, p.rows, p.columns, p.x, p.sums, stream);
    return;
  }
  sum_ranges(shape, p.rows, p.columns, p.x, p.partials, stream);
  // A thread for each column and eighth of the ranges, since there are few.
  const SumShape rest(shape.ranges, p.columns, 1);
  launch_sums<1>(rest, shape.ranges, p.columns, static_cast<const StateOf<T>*>(p.partials), p.sums, stream);
}

template void column_sums(const ColumnSums<__half, float>&, cudaStream_t);
template void column_sums(const ColumnSums<__nv_bfloat16, float>&, cudaStream_t);
#define FUSEDLSTM_INSTANTIATE(T)                     \
  template Index column_sum_ranges<T>(Index, Index); \
  template void column_sums(const ColumnSums<T, T>&, cudaStream_t);
FUSEDLSTM_FOR_EACH_NUMBER_TYPE(FUSEDLSTM_INSTANTIATE)
#undef FUSEDLSTM_INSTANTIATE

}  // namespace fusedlstm::cuda
