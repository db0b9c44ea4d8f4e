// The sequence on the device whose steps have several stages with a barrier between: with a projection, a
// second product; with layer normalization, means over a row's columns, which all blocks have parts of. Else
// it is the grid kernel (grid_sequence.h), with any options of the cell, and its properties hold.
#pragma once

#include "sequence.h"
#include "staged_layout.h"

namespace fusedlstm::cuda {

// The number types of grid_sequence.h. `layout` is staged_layout's for the same type, direction and sizes,
// and a device that holds its blocks at once; `workspace` has its bytes, all zeros. The problem has a
// projection, a norm, or both. `options` is read before the call returns, null for the plain cell. Throw
// std::invalid_argument where steps pass 32 bits, and std::runtime_error where CUDA refuses, before anything
// is written.
template <class T, bool tensor_cores>
void staged_forward(const SequenceForward<T>& problem, const CellOptions<StateOf<T>>* options,
                    const StagedLayout& layout, void* workspace, cudaStream_t stream);
template <class T, bool tensor_cores>
void staged_backward(const SequenceBackward<T>& problem, const CellOptions<StateOf<T>>* options,
                     const StagedLayout& layout, void* workspace, cudaStream_t stream);

}  // namespace fusedlstm::cuda
