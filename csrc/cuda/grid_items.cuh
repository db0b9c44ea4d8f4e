// The cells that a thread of a grid kernel has. A block's step is a number of items, each a slice of units
// times some batch rows: as many as one product makes.
#pragma once

#include "grid_layout.h"
#include "sequence.h"
#include "storage.cuh"

namespace fusedlstm::cuda {

// One row's unit.
struct GridCell {
  Index b;
  Index unit;
  int row;      // of the item
  int column;   // of the slice's units
  int length;   // real steps
  bool in_row;  // of the batch, if not of its units
  bool exists;
};

// Items of slices of `units_of_slice`; Problem has batch, steps, units and lengths, and Layout slices and
// rows.
template <int units_of_slice, class Product, class Problem>
class GridItems {
 public:
  static constexpr GridTile tile = Product::tile;
  static constexpr int slice_units = units_of_slice;
  static constexpr int passes = (tile.rows * slice_units + grid_threads - 1) / grid_threads;
  // One item, which is therefore the same at every step.
  static constexpr bool single = Product::form == GridForm::narrow;

  template <class Layout>
  __device__ __forceinline__ GridItems(const Layout& layout, const Problem& p, int groups_at_once)
      : p_(p),
        rows_of_slice_(layout.rows),
        rows_at_once_(groups_at_once * rows_of_group),
        rows_(static_cast<int>(p.batch - first() < layout.rows ? p.batch - first() : layout.rows)),
        parts_((rows_ + at_once() - 1) / at_once()),
        count_((layout.slices - static_cast<int>(blockIdx.x) + static_cast<int>(gridDim.x) - 1) /
               static_cast<int>(gridDim.x) * parts_) {}

  __device__ __forceinline__ int count() const { return single ? 1 : count_; }
  __device__ __forceinline__ int slice(int item) const {
    const int turn = single ? 0 : item / parts_;
    return static_cast<int>(blockIdx.x) + turn * static_cast<int>(gridDim.x);
  }
  __device__ __forceinline__ Index first_row(int item) const {
    return single ? first() : first() + item % parts_ * at_once();
  }
  // Groups of rows, at least one of which exists.
  __device__ __forceinline__ int groups(int item) const {
    if (single) return 1;
    const int rows = rows_ - item % parts_ * at_once();
    return ((rows < at_once() ? rows : at_once()) + rows_of_group - 1) / rows_of_group;
  }
  __device__ __forceinline__ GridCell cell(int item, int pass) const {
    const int number = pass * grid_threads + static_cast<int>(threadIdx.x);
    GridCell cell{};
    cell.row = row_of(number / slice_units);
    cell.column = number % slice_units;
    cell.b = first_row(item) + cell.row;
    cell.unit = static_cast<Index>(slice(item)) * slice_units + cell.column;
    cell.in_row = cell.row < at_once() && cell.b < first() + rows_;
    cell.exists = cell.in_row && cell.unit < p_.units;
    if (cell.in_row) cell.length = length(cell.b);
    return cell;
  }
  __device__ __forceinline__ void cells(int item, GridCell (&own)[passes]) const {
#pragma unroll
    for (int pass = 0; pass < passes; ++pass) own[pass] = cell(item, pass);
  }
  // The longest of the row slice, which all its blocks find alike.
  __device__ __forceinline__ int longest() const {
    if (p_.lengths == nullptr) return static_cast<int>(p_.steps);
    int most = 0;
    for (int row = 0; row < rows_; ++row) most = max(most, length(first() + row));
    return most;
  }
  template <class Body>
  __device__ __forceinline__ void for_each_cell(const Body& body) const {
    for (int item = 0; item < count_; ++item) {
      for (int pass = 0; pass < passes; ++pass) {
        const GridCell own = cell(item, pass);
        if (own.exists) body(own);
      }
    }
  }

 private:
  // A warp that has two rows of 16 units reads the sums of both at once: of rows that are four apart, which
  // lie in different banks where fragments wrote them (GridTile::sums_pitch).
  static __device__ __forceinline__ int row_of(int number) {
    if (slice_units != 16 || tile.sums_pitch % 32 == 0) return number;
    return number / 8 * 8 + number % 8 / 2 + number % 2 * 4;
  }
  // The slice's first row.
  __device__ __forceinline__ Index first() const { return static_cast<Index>(blockIdx.y) * rows_of_slice_; }
  // Rows of a product: a constant where registers are scarce.
  __device__ __forceinline__ int at_once() const { return Product::resident ? tile.rows : rows_at_once_; }
  __device__ __forceinline__ int length(Index b) const {
    return static_cast<int>(p_.lengths == nullptr ? p_.steps : p_.lengths[b]);
  }

  // References to a kernel's parameters cost no registers.
  const Problem& p_;
  const int& rows_of_slice_;
  int rows_at_once_;
  int rows_;
  int parts_;
  int count_;
};

// Where a thread reads the operands of a step, and where it writes its own of the next: in either buffer in
// turn.
template <class T>
struct Turning {
  const T* read;
  T* write;
  int ahead;  // from the buffer that is read to the one that is written

  __device__ __forceinline__ void turn() {
    read += ahead;
    write -= ahead;
    ahead = -ahead;
  }
};

// The two operands in turn, and the barrier of a row slice's blocks, which orders them.
template <class F, class Layout = GridLayout>
class GridExchange {
 public:
  using Number = typename F::Number;

  __device__ __forceinline__ GridExchange(const Layout& layout, const int& pitch, unsigned char* workspace)
      : barrier(reinterpret_cast<unsigned*>(workspace + blockIdx.y * counter_bytes), gridDim.x),
        layout_(layout),
        pitch_(pitch),
        workspace_(workspace) {}

  // Rows of the batch are those of the buffer: all row slices but the last are full.
  __device__ __forceinline__ Number* at(int step, Index b, Index k) const {
    unsigned char* const buffer = workspace_ + layout_.operands + (step % 2 == 0 ? 0 : layout_.buffer_bytes);
    return reinterpret_cast<Number*>(buffer) + b * pitch_ + k;
  }
  // At a step: rows from `first_row` on are read, and the own cell's operands, of which k is the first, are
  // written as those of the step `ahead`, the next or the one before.
  __device__ __forceinline__ Turning<Number> turning(int step, int ahead, Index first_row, Index b,
                                                     Index k) const {
    const Number* const read = at(step, first_row, 0);
    return {read, at(step + ahead, b, k), static_cast<int>(at(step + ahead, first_row, 0) - read)};
  }

  BlockBarrier barrier;

 private:
  const Layout& layout_;
  const int& pitch_;
  unsigned char* workspace_;
};

}  // namespace fusedlstm::cuda
