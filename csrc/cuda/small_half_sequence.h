// The sequence of 16-bit numbers on the device where H is small enough for one multiprocessor to keep all
// recurrent weights: what small_sequence.h is for float and double, on tensor cores. A block owns eight rows
// of the batch, as many as a tile of a product has, from the first step to the last, and no block waits for
// another.
//
// Results of a row do not depend on its place in the batch. A cell without options takes sigmoid from
// hardware's own exponential and reciprocal (number.cuh), whose errors are far below what 16 bits round to.
#pragma once

#include "half_types.h"
#include "sequence.h"
#include "small_sizes.h"

namespace fusedlstm::cuda {

// T is __half or __nv_bfloat16: small_<type>.cu. `options` is read before the call returns. Throw
// std::invalid_argument beyond most_small_units and where steps pass 32 bits, and std::runtime_error where
// CUDA refuses, before anything is written.
template <class T>
void small_half_forward(const SequenceForward<T>& problem, const CellOptions<float>* options,
                        cudaStream_t stream);
template <class T>
void small_half_backward(const SequenceBackward<T>& problem, const CellOptions<float>* options,
                         cudaStream_t stream);

extern template void small_half_forward(const SequenceForward<__half>&, const CellOptions<float>*,
                                        cudaStream_t);
extern template void small_half_backward(const SequenceBackward<__half>&, const CellOptions<float>*,
                                         cudaStream_t);
extern template void small_half_forward(const SequenceForward<__nv_bfloat16>&, const CellOptions<float>*,
                                        cudaStream_t);
extern template void small_half_backward(const SequenceBackward<__nv_bfloat16>&, const CellOptions<float>*,
                                         cudaStream_t);

}  // namespace fusedlstm::cuda
