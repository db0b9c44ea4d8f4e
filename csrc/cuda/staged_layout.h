// How the staged kernels (staged_sequence.h) lie on the grid. All their weights are read anew at every step,
// from where the grid kernels keep those that have no other place.
#pragma once

#include "grid_layout.h"

namespace fusedlstm::cuda {

struct StagedLayout {
  int slices;         // of units
  int output_slices;  // of h's columns, with a projection
  int unit_blocks;    // blocks in a row of the grid
  int row_slices;     // rows of the grid
  int rows;           // batch rows of a row slice
  ProductLayout recurrent;
  ProductLayout projection;
  std::size_t shared_bytes;
  // Offsets of bytes in the workspace, which is all zeros at the launch; before them, the barriers' counters.
  std::size_t operands;  // of the recurrent product, two in turn
  std::size_t buffer_bytes;
  std::size_t projection_operands;
  std::size_t sums;         // (2, rows, slices, 2) what rows' means are made of, of h U and of c
  std::size_t waiting;      // (rows, 6, H) of cells between stages
  std::size_t kept_states;  // backward, (B,R)
  std::size_t weights;
  std::size_t recurrent_bytes;  // of each row slice's weights
  std::size_t projection_bytes;
  std::size_t workspace_bytes;
};

// `outputs` is R where there is a projection, and 0 otherwise.
StagedLayout staged_layout(bool tensor_cores, int number_bytes, Direction direction, Index batch, Index units,
                           Index outputs, bool normalized, int multiprocessors, std::size_t shared_per_block);

}  // namespace fusedlstm::cuda
