// Shared by the staged kernels: their items, products and numbers that wait between stages.
#pragma once

#include "hidden.cuh"
#include "product.cuh"
#include "row_moments.cuh"
#include "staged_layout.h"

namespace fusedlstm::cuda {

// h's columns where there is a projection, as GridItems takes them.
struct OutputColumns {
  Index batch;
  Index steps;
  Index units;
  const Index* lengths;
};
struct OutputSlices {
  int slices;
  int rows;
};

// Numbers that cells leave for the next stage, each read by the thread that wrote it: (rows, kinds, H).
template <class S>
struct Waiting {
  static constexpr int kinds = 6;
  S* data;
  Index units;

  __device__ __forceinline__ S& at(const GridCell& own, int kind) const {
    return data[(own.b * kinds + kind) * units + own.unit];
  }
};

template <class F, Direction direction>
class StagedBlock {
 public:
  using T = typename F::Number;
  using S = StateOf<T>;
  using Multiply = Product<F, direction, true, GridForm::anew>;
  static constexpr int slice_columns = Multiply::tile.slice_columns;
  static constexpr int slice_units = direction == Direction::forward ? slice_columns / kGates : slice_columns;

  __device__ __forceinline__ StagedBlock(const StagedLayout& layout, unsigned char* workspace)
      : layout_(layout),
        workspace_(workspace),
        recurrent(layout.recurrent, dynamic_shared<unsigned char>(),
                  workspace + layout.weights + blockIdx.y * layout.recurrent_bytes),
        projection(layout.projection, dynamic_shared<unsigned char>(),
                   workspace + layout.weights + gridDim.y * layout.recurrent_bytes +
                       blockIdx.y * layout.projection_bytes) {}

  // The block's own slices of a product's weights.
  template <class W>
  static __device__ __forceinline__ void take(Multiply& product, int slices, const W& weight_of_slice) {
    for (int slice = static_cast<int>(blockIdx.x); slice < slices; slice += static_cast<int>(gridDim.x)) {
      product.take([&](int column, int k) { return weight_of_slice(slice, column, k); }, slice);
    }
  }
  // The projection's.
  __device__ __forceinline__ T* operand(Index b, Index k) const {
    return reinterpret_cast<T*>(workspace_ + layout_.projection_operands) + b * layout_.projection.pitch + k;
  }
  // 0: of h U; 1: of c.
  __device__ __forceinline__ RowParts<S> parts(int which) const {
    const Index size = static_cast<Index>(layout_.row_slices) * layout_.rows * layout_.slices * 2;
    return {reinterpret_cast<S*>(workspace_ + layout_.sums) + which * size, layout_.slices};
  }
  __device__ __forceinline__ Waiting<S> waiting(Index units) const {
    return {reinterpret_cast<S*>(workspace_ + layout_.waiting), units};
  }
  __device__ __forceinline__ S* kept_states() const {
    return reinterpret_cast<S*>(workspace_ + layout_.kept_states);
  }

 private:
  const StagedLayout& layout_;
  unsigned char* workspace_;

 public:
  Multiply recurrent;
  Multiply projection;
};

// Calls body(item, pass, own) for all of a thread's cells of a stage, also for those that do not exist: lanes
// beside them add rows with all lanes.
template <class Items, class Body>
__device__ __forceinline__ void for_each_place(const Items& items, const Body& body) {
  for (int item = 0; item < items.count(); ++item) {
    for (int pass = 0; pass < Items::passes; ++pass) body(items.slice(item), items.cell(item, pass));
  }
}

// The same after each item's product.
template <class Items, class Multiply, class Operands, class Body>
__device__ __forceinline__ void for_each_sum(const Items& items, Multiply& product, const Operands& operands,
                                             const Body& body) {
  for (int item = 0; item < items.count(); ++item) {
    product.multiply(operands(items.first_row(item)), items.groups(item), items.slice(item));
    __syncthreads();
    for (int pass = 0; pass < Items::passes; ++pass) body(items.slice(item), items.cell(item, pass));
    __syncthreads();
  }
}

}  // namespace fusedlstm::cuda
