#include "grid_launch.cuh"

namespace fusedlstm::cuda {

template void grid_forward<__nv_bfloat16, true>(const SequenceForward<__nv_bfloat16>&,
                                                const CellOptions<StateOf<__nv_bfloat16>>*, const GridLayout&,
                                                void*, cudaStream_t);
template void grid_backward<__nv_bfloat16, true>(const SequenceBackward<__nv_bfloat16>&,
                                                 const CellOptions<StateOf<__nv_bfloat16>>*,
                                                 const GridLayout&, void*, cudaStream_t);
template void staged_forward<__nv_bfloat16, true>(const SequenceForward<__nv_bfloat16>&,
                                                  const CellOptions<StateOf<__nv_bfloat16>>*,
                                                  const StagedLayout&, void*, cudaStream_t);
template void staged_backward<__nv_bfloat16, true>(const SequenceBackward<__nv_bfloat16>&,
                                                   const CellOptions<StateOf<__nv_bfloat16>>*,
                                                   const StagedLayout&, void*, cudaStream_t);

}  // namespace fusedlstm::cuda
