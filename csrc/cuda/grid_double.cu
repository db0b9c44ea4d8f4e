#include "grid_launch.cuh"

namespace fusedlstm::cuda {

template void grid_forward<double, false>(const SequenceForward<double>&, const CellOptions<StateOf<double>>*,
                                          const GridLayout&, void*, cudaStream_t);
template void grid_backward<double, false>(const SequenceBackward<double>&,
                                           const CellOptions<StateOf<double>>*, const GridLayout&, void*,
                                           cudaStream_t);
template void staged_forward<double, false>(const SequenceForward<double>&,
                                            const CellOptions<StateOf<double>>*, const StagedLayout&, void*,
                                            cudaStream_t);
template void staged_backward<double, false>(const SequenceBackward<double>&,
                                             const CellOptions<StateOf<double>>*, const StagedLayout&, void*,
                                             cudaStream_t);

}  // namespace fusedlstm::cuda
