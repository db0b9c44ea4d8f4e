#include "small_half_launch.cuh"

namespace fusedlstm::cuda {

template void small_half_forward(const SequenceForward<__half>&, const CellOptions<float>*, cudaStream_t);
template void small_half_backward(const SequenceBackward<__half>&, const CellOptions<float>*, cudaStream_t);

}  // namespace fusedlstm::cuda
