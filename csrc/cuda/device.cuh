// The one header that kernels include: CUDA itself when nvcc compiles them, and otherwise the simulator of
// csrc/simt/, which runs the same source on the CPU and checks it. Both offer the following.
//
// CUDA C++
//   __global__ __device__ __host__ __forceinline__ __noinline__ __constant__ (with an initializer)
//   __shared__ (static; never extern: see dynamic_shared) __launch_bounds__ __restrict__ __align__
//   __grid_constant__
//   threadIdx blockIdx blockDim gridDim warpSize; dim3, and the vectors of 2 and 4 numbers with make_*
//   __syncthreads _and _or _count, __syncwarp, __threadfence, __nanosleep
//   __shfl_sync _up _down _xor (4 or 8 bytes), __ballot_sync __any_sync __all_sync
//   atomicAdd Sub Max Min Or And Exch CAS; __ldg __ldca __ldcg __ldcs __stcg __stcs
//   __half __nv_bfloat16 and their pairs: storage and conversions (compute in float)
//   the functions of <cmath>, min, max, __expf __logf __fdividef rsqrtf __fmaf_rn __saturatef and the like
// namespace fusedlstm::cuda
//   launch({"name", grid, block, shared_bytes, stream, cooperative}, kernel, arguments...)   launch.cuh
//   resident_blocks(kernel, threads, shared_bytes): largest grid of a cooperative launch
//   dynamic_shared<T>(), sync_grid(), BlockBarrier, copy_async*, mma_*, load_matrices, to_tf32, *_approx
//   ptx.cuh
//
// Stricter than hardware, so that what passes here is right there: every thread of a block must reach each
// barrier, at the same line of the source, and every lane of a mask its collective, even where others have
// ended. Faults are also: a read of shared memory that its block has not written; two accesses by different
// threads without a barrier between, of which one writes and one is no atomic, to global memory too, where
// blocks are ordered by sync_grid and BlockBarrier alone; and a touch of an asynchronous copy's target before
// the wait. Shuffles and atomics order nothing; __syncwarp orders its lanes.
//
// Not there: extern __shared__, __device__ variables, cooperative_groups, textures, printf, dynamic
// parallelism, clusters, named barriers, mbarrier, and flags in memory that other threads spin on.
// An overrun of one static shared array into the next is found only where the array's type shows it, and with
// Clang, copies of one's own structures of more than 8 bytes are not looked at (of vectors they are).
//
// A test builds the .cu files with add_simt_module (csrc/simt/simt.cmake) beside a file of bindings, which
// pass the pointers of NumPy arrays that the module's array(values, name) or empty(shape, dtype, name) made,
// and runs them under set_order("forward"), ("reverse") and ("random", seed): see tests/simulated_gpu/. A
// fault is the module's exception Fault.
#pragma once

#ifdef __CUDACC__
  #include <cuda_bf16.h>
  #include <cuda_fp16.h>
  #include <cuda_runtime.h>

  #include "launch.cuh"
  #include "ptx.cuh"
#else
  #include "../simt/atomics.h"
  #include "../simt/builtins.h"
  #include "../simt/intrinsics.h"
  #include "../simt/launch.h"
  #include "../simt/numbers.h"
  #include "../simt/ptx.h"
#endif
