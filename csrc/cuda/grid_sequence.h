// The sequence on the device for any H: one cooperative launch whose blocks stay from the first step to the
// last. Each keeps the recurrent weights of some units, all their gates', as near as they fit
// (grid_layout.h), and hands its hidden states, or gradients of gates, to the others through global memory,
// with a barrier of the blocks that share batch rows at every step.
//
// Results of a row do not depend on its place in the batch or on the layout.
#pragma once

#include "grid_layout.h"
#include "sequence.h"

namespace fusedlstm::cuda {

// There are float without and, as tf32 (operands rounded to 11 bits, sums in float32), with tensor cores;
// double without, __half and __nv_bfloat16 with them: grid_<type>.cu.
//
// `layout` is grid_layout's for the same type, direction and sizes, and a device that holds its blocks at
// once; `workspace` has its bytes, all zeros. `options` is read before the call returns. Throw
// std::invalid_argument where steps pass 32 bits, and std::runtime_error where CUDA refuses, before anything
// is written.
template <class T, bool tensor_cores>
void grid_forward(const SequenceForward<T>& problem, const CellOptions<StateOf<T>>* options,
                  const GridLayout& layout, void* workspace, cudaStream_t stream);
template <class T, bool tensor_cores>
void grid_backward(const SequenceBackward<T>& problem, const CellOptions<StateOf<T>>* options,
                   const GridLayout& layout, void* workspace, cudaStream_t stream);

}  // namespace fusedlstm::cuda
