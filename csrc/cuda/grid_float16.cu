#include "grid_launch.cuh"

namespace fusedlstm::cuda {

template void grid_forward<__half, true>(const SequenceForward<__half>&, const CellOptions<StateOf<__half>>*,
                                         const GridLayout&, void*, cudaStream_t);
template void grid_backward<__half, true>(const SequenceBackward<__half>&,
                                          const CellOptions<StateOf<__half>>*, const GridLayout&, void*,
                                          cudaStream_t);
template void staged_forward<__half, true>(const SequenceForward<__half>&,
                                           const CellOptions<StateOf<__half>>*, const StagedLayout&, void*,
                                           cudaStream_t);
template void staged_backward<__half, true>(const SequenceBackward<__half>&,
                                            const CellOptions<StateOf<__half>>*, const StagedLayout&, void*,
                                            cudaStream_t);

}  // namespace fusedlstm::cuda
