// FUSEDLSTM_INLINE, for what kernels share with the rest: a copy that is not inlined would be one symbol for
// all instruction sets, and the linker might keep the one for a set that this machine lacks. And for lambdas
// that handle a tile: inlined, they find it in registers. Under nvcc the same functions serve the GPU too.
#pragma once

#ifdef __CUDACC__
  #define FUSEDLSTM_INLINE __host__ __device__ __attribute__((always_inline))
#else
  #define FUSEDLSTM_INLINE __attribute__((always_inline))
#endif
