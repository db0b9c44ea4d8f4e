// Threads for the elements of rows: units or features along x, a power of two so that a block has all its
// threads, and rows along y. So no thread divides to find its place.
#pragma once

#include <algorithm>

#include "../lstm.h"
#include "device.cuh"

namespace fusedlstm::cuda {

constexpr unsigned threads_for_rows = 256;
// Blocks that a multiprocessor holds at least. Not told, ptxas makes room for more of them by spilling.
constexpr unsigned blocks_for_rows = 4;
static_assert(threads_for_rows % 32 == 0 && threads_for_rows <= 1024);
static_assert(threads_for_rows * blocks_for_rows <= 1024,
              "what the smallest multiprocessor (sm_75) has room for");

inline dim3 block_for(Index columns) {
  unsigned x = 1;
  while (x < threads_for_rows && static_cast<Index>(x) < columns) x *= 2;
  return dim3(x, threads_for_rows / x);
}

// At most 65535 blocks are in y of a grid; rows beyond are for its next turns.
inline dim3 grid_for(Index rows, Index columns, const dim3& block) {
  const auto blocks = [](Index size, unsigned per_block, unsigned most) {
    return static_cast<unsigned>(std::min<Index>((size + per_block - 1) / per_block, most));
  };
  return dim3(blocks(columns, block.x, 0x7fffffff), blocks(rows, block.y, 65535));
}

// Calls body(row, column) for a thread's own rows and, of packs of `count` columns, their first ones.
template <int count, class Body>
__device__ __forceinline__ void for_each_own(Index rows, Index columns, const Body& body) {
  const Index first_row = static_cast<Index>(blockIdx.y) * blockDim.y + threadIdx.y;
  const Index first_column = (static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x) * count;
  const Index all_rows = static_cast<Index>(gridDim.y) * blockDim.y;
  const Index all_columns = static_cast<Index>(gridDim.x) * blockDim.x * count;
  for (Index row = first_row; row < rows; row += all_rows) {
    for (Index column = first_column; column < columns; column += all_columns) body(row, column);
  }
}

// A kernel of rows and columns, if there are any.
template <class... P, class... A>
void launch_rows(const char* name, Index rows, Index columns, cudaStream_t stream, void (*kernel)(P...),
                 const A&... arguments) {
  if (rows == 0 || columns == 0) return;
  const dim3 block = block_for(columns);
  launch({name, grid_for(rows, columns, block), block, 0, stream}, kernel, arguments...);
}

// The same for a batch of rows, along z, where no thread divides either: body(b, row, column).
template <class Body>
__device__ __forceinline__ void for_each_own_of_batch(Index batch, Index rows, Index columns,
                                                      const Body& body) {
  for (Index b = blockIdx.z; b < batch; b += gridDim.z) {
    for_each_own<1>(rows, columns, [&](Index row, Index column) { body(b, row, column); });
  }
}

template <class... P, class... A>
void launch_batch(const char* name, Index batch, Index rows, Index columns, cudaStream_t stream,
                  void (*kernel)(P...), const A&... arguments) {
  if (batch == 0 || rows == 0 || columns == 0) return;
  const dim3 block = block_for(columns);
  dim3 grid = grid_for(rows, columns, block);
  grid.z = static_cast<unsigned>(std::min<Index>(batch, 65535));
  launch({name, grid, block, 0, stream}, kernel, arguments...);
}

}  // namespace fusedlstm::cuda
