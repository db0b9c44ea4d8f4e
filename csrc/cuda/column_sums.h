// Sums over the rows of an array on the device, such as a bias's gradient. They are made without atomics, in
// an order that the array's shape says (and whether packs of its numbers are aligned), whatever the device.
//
// T is the number type of the array, and sums are made in StateOf<T>. Sum, of the results, is either of them.
#pragma once

#include "sequence.h"
#include "stream.h"

namespace fusedlstm::cuda {

// Ranges of rows that blocks of their own add up; one, where a block sees all rows of its columns.
template <class T>
Index column_sum_ranges(Index rows, Index columns);

template <class T, class Sum>
struct ColumnSums {
  Index rows;
  Index columns;
  const T* x;            // (rows, columns)
  Sum* sums;             // (columns), zeros where there are no rows
  StateOf<T>* partials;  // (ranges, columns) to work in, or null for one range
};

template <class T, class Sum>
void column_sums(const ColumnSums<T, Sum>& problem, cudaStream_t stream);

}  // namespace fusedlstm::cuda
