// The sequence on the device where H is small enough for one multiprocessor to keep all recurrent weights: a
// block owns some rows of the batch from the first step to the last, and no block waits for another.
//
// Options take registers that weights have without them, and so more shared memory.
#pragma once

#include <cstddef>

#include "sequence.h"
#include "small_sizes.h"

namespace fusedlstm::cuda {

// Dynamic shared memory of a block, in either direction. A device that gives a block less refuses the launch.
template <class T>
std::size_t small_shared_bytes(Index units, bool options);

// `options` is read before the call returns. Throw std::invalid_argument beyond most_small_units, and
// std::runtime_error where CUDA refuses, before anything is written.
template <class T>
void small_forward(const SequenceForward<T>& problem, const CellOptions<T>* options, cudaStream_t stream);
template <class T>
void small_backward(const SequenceBackward<T>& problem, const CellOptions<T>* options, cudaStream_t stream);

extern template std::size_t small_shared_bytes<float>(Index, bool);
extern template std::size_t small_shared_bytes<double>(Index, bool);
extern template void small_forward(const SequenceForward<float>&, const CellOptions<float>*, cudaStream_t);
extern template void small_forward(const SequenceForward<double>&, const CellOptions<double>*, cudaStream_t);
extern template void small_backward(const SequenceBackward<float>&, const CellOptions<float>*, cudaStream_t);
extern template void small_backward(const SequenceBackward<double>&, const CellOptions<double>*,
                                    cudaStream_t);

}  // namespace fusedlstm::cuda
