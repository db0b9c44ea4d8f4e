#include "grid_launch.cuh"

namespace fusedlstm::cuda {

template void grid_forward<float, false>(const SequenceForward<float>&, const CellOptions<StateOf<float>>*,
                                         const GridLayout&, void*, cudaStream_t);
template void grid_backward<float, false>(const SequenceBackward<float>&, const CellOptions<StateOf<float>>*,
                                          const GridLayout&, void*, cudaStream_t);
template void staged_forward<float, false>(const SequenceForward<float>&, const CellOptions<StateOf<float>>*,
                                           const StagedLayout&, void*, cudaStream_t);
template void staged_backward<float, false>(const SequenceBackward<float>&,
                                            const CellOptions<StateOf<float>>*, const StagedLayout&, void*,
                                            cudaStream_t);

}  // namespace fusedlstm::cuda
