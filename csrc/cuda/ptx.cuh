// Instructions that kernels need beyond CUDA C++. csrc/simt/ptx.h has the same for the simulator.
#pragma once

#include <cooperative_groups.h>
#include <cuda_runtime.h>

#include <cstring>
#include <type_traits>

namespace fusedlstm::cuda {

#ifdef __CUDA_ARCH__
constexpr bool has_async_copies = __CUDA_ARCH__ >= 800;
#else
constexpr bool has_async_copies = true;
#endif

// The launch's shared_bytes, aligned to 128 bytes; the same memory for every T.
template <class T>
__device__ __forceinline__ T* dynamic_shared() {
  extern __shared__ __align__(128) unsigned char fusedlstm_dynamic_shared[];
  return reinterpret_cast<T*>(fusedlstm_dynamic_shared);
}

// A barrier of the whole grid, which orders global memory too. The launch must be cooperative.
__device__ __forceinline__ void sync_grid() { cooperative_groups::this_grid().sync(); }

// A barrier of `blocks` blocks of a cooperative launch, those with the same counter. It lies in global
// memory, is zero at the launch, and counts arrivals, so that the barrier may be used again and again. All
// threads of a block, which has one dimension, arrive and then wait; what they do in between may take the
// time that others still need.
//
// The arrival asks for no answer: each block knows itself what the counter will be. One thread's release
// covers what its block has written, since the block has met, and one thread's acquire what others have.
class BlockBarrier {
 public:
  __device__ __forceinline__ BlockBarrier(unsigned* counter, unsigned blocks)
      : counter_(counter), blocks_(blocks) {}

  __device__ __forceinline__ void arrive() {
    __syncthreads();
    goal_ += blocks_;
    if (threadIdx.x == 0) asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(counter_) : "memory");
  }
  __device__ __forceinline__ void wait() const {
    if (threadIdx.x == 0) {
      unsigned arrived;
      do {
        asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(arrived) : "l"(counter_) : "memory");
      } while (static_cast<int>(arrived - goal_) < 0);
    }
    __syncthreads();
  }
  __device__ __forceinline__ void meet() {
    arrive();
    wait();
  }

 private:
  unsigned* counter_;
  unsigned blocks_;
  unsigned goal_ = 0;
};

// Starts a copy of 4, 8 or 16 bytes from global to shared memory, both aligned to that. The bytes from
// `valid` on are zeros and not read. Before sm_80 there is no such thing, and the copy is done at once.
template <int bytes>
__device__ __forceinline__ void copy_async(void* shared, const void* global, int valid = bytes) {
  static_assert(bytes == 4 || bytes == 8 || bytes == 16);
  const auto to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  if constexpr (!has_async_copies) {
    using Words = std::conditional_t<bytes == 4, uint1, std::conditional_t<bytes == 8, uint2, uint4>>;
    Words words{};
    if (valid == bytes) {
      words = *static_cast<const Words*>(global);
    } else {
      memcpy(&words, global, static_cast<std::size_t>(valid));
    }
    *static_cast<Words*>(shared) = words;
  } else if constexpr (bytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(valid)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(to), "l"(global), "n"(bytes),
                 "r"(valid)
                 : "memory");
  }
}
// The copies that this thread started since the last commit become a group.
__device__ __forceinline__ void copy_async_commit() {
  if constexpr (has_async_copies) asm volatile("cp.async.commit_group;" ::: "memory");
}
// Until all but the latest `groups` groups of this thread are there. Other threads need a barrier after it.
template <int groups>
__device__ __forceinline__ void copy_async_wait() {
  if constexpr (has_async_copies) asm volatile("cp.async.wait_group %0;" ::"n"(groups) : "memory");
}

// From sm_80 on: d = a b + c by a whole warp, with float32 sums: a (16,K) and b (K,8), K = 8 in tf32 and 16
// in 16 bits; d and c (16,8). With r = lane / 4 and q = lane % 4, a lane holds (PTX ISA, "Matrix Fragments
// for mma.m16n8k8" and "mma.m16n8k16"):
//   d, c      (r, 2q) (r, 2q+1) (r+8, 2q) (r+8, 2q+1)
//   tf32  a   (r, q) (r+8, q) (r, q+4) (r+8, q+4)       b   (q, r) (q+4, r)
//   16 bits   in each register two neighbours in k, the lower one in the lower half:
//         a   (r, 2q) (r+8, 2q) (r, 2q+8) (r+8, 2q+8)   b   (2q, r) (2q+8, r)
__device__ __forceinline__ void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                                         const float (&c)[4]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%10,%11,%12,%13};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]), "f"(c[2]),
        "f"(c[3]));
}
__device__ __forceinline__ void mma_f16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                                        const float (&c)[4]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%10,%11,%12,%13};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]), "f"(c[2]),
        "f"(c[3]));
}
__device__ __forceinline__ void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                                         const float (&c)[4]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%10,%11,%12,%13};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]), "f"(c[2]),
        "f"(c[3]));
}

// ldmatrix: `count` matrices of 8 x 8 numbers of 16 bits from shared memory. Lanes 8 m to 8 m + 7 point to
// the rows of matrix m, 16 bytes each and so aligned; every lane gets (r, 2q) and (r, 2q+1) of each matrix,
// or of the transposed one.
template <int count, bool transposed = false>
__device__ __forceinline__ void load_matrices(unsigned (&registers)[count], const void* row) {
  static_assert(count == 1 || count == 2 || count == 4);
  const auto from = static_cast<unsigned>(__cvta_generic_to_shared(row));
  if constexpr (count == 1 && !transposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"
                 : "=r"(registers[0])
                 : "r"(from)
                 : "memory");
  } else if constexpr (count == 1) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];"
                 : "=r"(registers[0])
                 : "r"(from)
                 : "memory");
  } else if constexpr (count == 2 && !transposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                 : "=r"(registers[0]), "=r"(registers[1])
                 : "r"(from)
                 : "memory");
  } else if constexpr (count == 2) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                 : "=r"(registers[0]), "=r"(registers[1])
                 : "r"(from)
                 : "memory");
  } else if constexpr (!transposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
                 : "r"(from)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
                 : "r"(from)
                 : "memory");
  }
}

// Rounded to nearest, ties away from zero, as operands of mma_tf32 must be.
__device__ __forceinline__ unsigned to_tf32(float x) {
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
}

// With errors of two units and of one in the last place; denormal numbers are zeros (PTX ISA, "ex2" and
// "rcp").
__host__ __device__ __forceinline__ float exp2_approx(float x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return ::exp2f(x);
#endif
}
__host__ __device__ __forceinline__ float reciprocal_approx(float x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return 1.0f / x;
#endif
}

// With an error of about 2^-11 of the value.
__device__ __forceinline__ float tanh_approx(float x) {
  float y;
  asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace fusedlstm::cuda
