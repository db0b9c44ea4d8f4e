// Kernels with one planted fault each. Those that are right but for a barrier also do harm in some order of
// threads only, which is the point: the simulator must find them in every order.
#include <stdexcept>

#include "../../../csrc/cuda/device.cuh"
#include "kernels.h"

namespace simt_tests {
namespace {

using namespace fusedlstm::cuda;

constexpr unsigned all_lanes = 0xffffffff;

__device__ int thread() { return static_cast<int>(threadIdx.x); }

__global__ void read_write_race(float* x, int) {
  __shared__ float row[64];
  row[thread()] = x[thread()];
  x[thread()] = row[(thread() + 1) % 64];
}

__global__ void write_write_race(float* x, int) {
  __shared__ float last;
  last = x[thread()];
  __syncthreads();
  x[thread()] = last;
}

// Right but for the second barrier: a fast thread overwrites what a slow one still reads.
__global__ void missing_second_barrier(float* x, int) {
  __shared__ float row[64];
  for (int step = 0; step < 2; ++step) {
    row[thread()] = x[thread()];
    __syncthreads();
    x[thread()] = row[63 - thread()];
  }
}

__global__ void missing_warp_barrier(float* x, int) {
  __shared__ float row[32];
  row[thread()] = x[thread()];
  x[thread()] = row[thread() ^ 1];
}

__global__ void missing_second_warp_barrier(float* x, int) {
  __shared__ float row[32];
  for (int step = 0; step < 2; ++step) {
    row[thread()] = x[thread()];
    __syncwarp();
    x[thread()] = row[31 - thread()];
  }
}

// What is written as words and read by halves.
__global__ void race_on_part_of_a_word(float* x, int) {
  __shared__ unsigned row[64];
  row[thread()] = 0;
  __syncthreads();
  row[thread()] = 1u << 16;
  x[thread()] = reinterpret_cast<unsigned short*>(row)[2 * (thread() ^ 1) + 1];
}

__global__ void half_word_race(float* x, int) {
  __shared__ __half row[64];
  row[thread()] = __float2half_rn(x[thread()]);
  x[thread()] = __half2float(row[thread() ^ 1]);
}

__global__ void race_with_atomic(float* x, int) {
  __shared__ float sum;
  if (thread() == 0) sum = 0.0f;
  __syncthreads();
  atomicAdd(&sum, x[thread()]);
  if (thread() == 5) x[5] = sum;
}

// The last of two updates is the thread's own, and another one is not.
__global__ void read_after_own_atomic(float* x, int) {
  __shared__ int count;
  if (thread() == 0) count = 0;
  __syncthreads();
  atomicAdd(&count, 1);
  if (thread() == 1) x[0] = static_cast<float>(count);
}

__global__ void total_of_blocks(float* x, int) {
  atomicAdd(x, 1.0f);
  if (blockIdx.x == 1) x[1] = x[0];
}

__global__ void race_between_blocks(float* x, int) {
  if (thread() == 0) x[0] = static_cast<float>(blockIdx.x);
}

__global__ void missing_grid_barrier(float* x, int) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x) + thread();
  x[i] = 1.0f;
  __syncthreads();
  const float neighbour = x[(i + 32) % 64];
  sync_grid();
  x[i] = neighbour;
}

__global__ void global_overrun(float* x, int size) {
  if (thread() <= size) x[thread()] = 0.0f;
}

__global__ void global_underrun(float* x, int) { x[0] = x[thread() - 1]; }

__global__ void null_pointer(float* x, int size) {
  const float* nothing = size < 0 ? x : nullptr;
  if (thread() == 3) x[0] = nothing[size];
}

__global__ void shared_overrun(float* x, int) {
  float* row = dynamic_shared<float>();
  row[thread()] = x[thread()];
  __syncthreads();
  x[thread()] = row[thread() + 1];
}

__global__ void static_overrun(float* x, int) {
  __shared__ float row[32];
  row[thread()] = x[thread()];
  x[thread()] = row[thread()];
}

__global__ void misaligned_load(float* x, int) {
  const float4 v = *reinterpret_cast<const float4*>(x + thread() + 1);
  x[0] = v.x + v.w;
}

__global__ void misaligned_store(float* x, int) {
  *reinterpret_cast<float2*>(x + 2 * thread() + 1) = make_float2(1.0f, 2.0f);
}

__global__ void misaligned_shared(float* x, int) {
  float4* row = reinterpret_cast<float4*>(dynamic_shared<float>() + 2);
  row[thread()] = make_float4(x[0], 0.0f, 0.0f, 0.0f);
}

__global__ void barrier_in_branch(float* x, int) {
  if (thread() < 32) __syncthreads();
  x[thread()] = 0.0f;
}

__global__ void barriers_in_both_branches(float* x, int) {
  if (thread() < 32) {
    __syncthreads();
    x[thread()] = 0.0f;
  } else {
    __syncthreads();
  }
}

__global__ void early_return(float* x, int size) {
  if (thread() >= size - 1) return;
  x[thread()] = 0.0f;
  __syncthreads();
}

__global__ void shuffle_in_branch(float* x, int) {
  if (thread() < 16) x[thread()] = __shfl_down_sync(all_lanes, x[thread()], 1);
}

__global__ void shuffle_from_outside(float* x, int) {
  if (thread() < 16) x[thread()] = __shfl_sync(0xffff, x[thread()], 16);
}

__global__ void shuffle_without_own_lane(float* x, int) { x[thread()] = __shfl_sync(0xffff, x[thread()], 0); }

__global__ void shuffle_against_vote(float* x, int) {
  if (thread() % 2 == 0) {
    x[thread()] = __shfl_xor_sync(all_lanes, x[thread()], 2);
  } else {
    x[thread()] = static_cast<float>(__ballot_sync(all_lanes, 1));
  }
}

__global__ void barrier_against_shuffle(float* x, int) {
  if (thread() == 7) {
    __syncthreads();
  } else {
    x[thread()] = __shfl_xor_sync(all_lanes, x[thread()], 1);
  }
}

__global__ void grid_barrier_in_branch(float* x, int) {
  if (blockIdx.x == 0) sync_grid();
  if (thread() == 0) x[blockIdx.x] = 0.0f;
}

// Waits for the blocks of its own pair, and reads what the other pair writes.
__global__ void barrier_of_other_blocks(float* x, int) {
  unsigned* counter = reinterpret_cast<unsigned*>(x) + 60 + blockIdx.x / 2;
  if (thread() == 0) x[blockIdx.x] = 1.0f;
  BlockBarrier(counter, 2).meet();
  if (thread() == 0) x[8 + blockIdx.x] = x[(blockIdx.x + 2) % 4];
}

__global__ void barrier_for_too_few(float* x, int) { BlockBarrier(reinterpret_cast<unsigned*>(x), 1).meet(); }

__global__ void barrier_for_too_many(float* x, int) {
  BlockBarrier(reinterpret_cast<unsigned*>(x), 3).meet();
}

__global__ void wait_for_blocks_without_arrival(float* x, int) {
  BlockBarrier(reinterpret_cast<unsigned*>(x), 2).wait();
}

// What is written after the arrival, others do not wait for.
__global__ void write_after_arrival(float* x, int) {
  BlockBarrier barrier(reinterpret_cast<unsigned*>(x) + 60, 2);
  barrier.arrive();
  if (thread() == 0) x[blockIdx.x] = 1.0f;
  barrier.wait();
  if (thread() == 0) x[2 + blockIdx.x] = x[1 - blockIdx.x];
}

// Overwrites what another block may still read, since only its own writes are waited for.
__global__ void one_buffer_for_two_steps(float* x, int) {
  for (int step = 0; step < 2; ++step) {
    if (thread() == 0) x[blockIdx.x] = 1.0f;
    sync_grid();
    if (thread() == 0) x[8 + blockIdx.x] = x[1 - blockIdx.x];
  }
}

__global__ void missing_copy_wait(float* x, int) {
  float* row = dynamic_shared<float>();
  copy_async<4>(row + thread(), x + thread());
  copy_async_commit();
  __syncthreads();
  x[thread()] = row[thread()];
}

__global__ void wait_for_too_few(float* x, int) {
  float* row = dynamic_shared<float>();
  copy_async<4>(row + thread(), x + thread());
  copy_async_commit();
  copy_async_wait<1>();
  x[thread()] = row[thread()];
}

__global__ void missing_copy_commit(float* x, int) {
  float* row = dynamic_shared<float>();
  copy_async<4>(row + thread(), x + thread());
  copy_async_wait<0>();
  x[thread()] = row[thread()];
}

__global__ void wait_without_barrier(float* x, int) {
  float* row = dynamic_shared<float>();
  copy_async<4>(row + thread(), x + thread());
  copy_async_commit();
  copy_async_wait<0>();
  x[thread()] = row[thread() ^ 1];
}

__global__ void misaligned_copy(float* x, int) { copy_async<16>(dynamic_shared<float>(), x + 1); }

__global__ void uninitialised_read(float* x, int) {
  __shared__ float row[64];
  if (thread() > 0) row[thread()] = x[thread()];
  __syncthreads();
  x[thread()] = row[thread()];
}

// The block before wrote it, not this one.
__global__ void read_of_last_block(float* x, int) {
  float* row = dynamic_shared<float>();
  if (blockIdx.x == 0) row[thread()] = x[thread()];
  __syncthreads();
  if (blockIdx.x == 1) x[thread()] = row[thread()];
}

__global__ void uninitialised_sum(float* x, int) {
  __shared__ float sums[64];
  sums[thread()] += x[thread()];
  __syncthreads();
  x[thread()] = sums[thread()];
}

__global__ void nothing(float*, int) {}

__global__ void atomic_overrun(float* x, int) { atomicAdd(reinterpret_cast<unsigned*>(x + 64), 1u); }

__global__ void stack_overflow(float* x, int size) {
  volatile float local[14 * 1024];
  for (int i = 0; i < 14 * 1024; ++i) local[i] = x[0];
  x[thread()] = local[size];
}

__global__ void endless_spin(float* x, int) {
  if (thread() == 0) {
    while (atomicAdd(x, 0.0f) >= 0.0f) __nanosleep(10);
  }
}

#ifndef __CUDACC__
// nvcc itself refuses these two.
__global__ void too_many_static(float* x, int) {
  __shared__ float much[12 * 1024 + 64];
  for (int i = thread(); i < 12 * 1024 + 64; i += 64) much[i] = 1.0f;
  x[thread()] = much[thread()];
}

__constant__ float table[2] = {1.0f, 2.0f};

__global__ void write_to_constant(float* x, int) {
  float* place = const_cast<float*>(table);
  asm volatile("" : "+r"(place));  // compilers may drop a write that they know to be wrong
  place[thread() % 2] = x[0];
}
#endif

}  // namespace

void run_faulty(const std::string& name, float* x, int size) {
  using Kernel = void (*)(float*, int);
  struct Case {
    const char* name;
    Kernel kernel;
    unsigned blocks;
    unsigned threads;
    std::size_t shared_bytes = 0;
    bool cooperative = false;
  };
#define CASE(name, ...) \
  Case { #name, &name, __VA_ARGS__ }
  static const Case cases[] = {
      CASE(read_write_race, 1, 64),
      CASE(write_write_race, 1, 64),
      CASE(missing_second_barrier, 1, 64),
      CASE(missing_warp_barrier, 1, 32),
      CASE(missing_second_warp_barrier, 1, 32),
      CASE(race_on_part_of_a_word, 1, 64),
      CASE(half_word_race, 1, 64),
      CASE(race_with_atomic, 1, 64),
      CASE(read_after_own_atomic, 1, 2),
      CASE(total_of_blocks, 2, 1),
      CASE(race_between_blocks, 2, 32),
      CASE(missing_grid_barrier, 2, 32, 0, true),
      CASE(global_overrun, 1, 128),
      CASE(global_underrun, 1, 1),
      CASE(null_pointer, 1, 32),
      CASE(shared_overrun, 1, 64, 256),
      CASE(static_overrun, 1, 64),
      CASE(misaligned_load, 1, 1),
      CASE(misaligned_store, 1, 4),
      CASE(misaligned_shared, 1, 4, 256),
      CASE(barrier_in_branch, 1, 64),
      CASE(barriers_in_both_branches, 1, 64),
      CASE(early_return, 1, 64),
      CASE(shuffle_in_branch, 1, 32),
      CASE(shuffle_from_outside, 1, 32),
      CASE(shuffle_without_own_lane, 1, 32),
      CASE(shuffle_against_vote, 1, 32),
      CASE(barrier_against_shuffle, 1, 32),
      CASE(grid_barrier_in_branch, 2, 32, 0, true),
      Case{"grid_barrier_without_cooperation", &grid_barrier_in_branch, 1, 32},
      CASE(barrier_of_other_blocks, 4, 32, 0, true),
      CASE(barrier_for_too_few, 2, 32, 0, true),
      CASE(barrier_for_too_many, 2, 32, 0, true),
      CASE(wait_for_blocks_without_arrival, 2, 32, 0, true),
      CASE(write_after_arrival, 2, 32, 0, true),
      CASE(one_buffer_for_two_steps, 2, 32, 0, true),
      CASE(missing_copy_wait, 1, 64, 256),
      CASE(wait_for_too_few, 1, 64, 256),
      CASE(missing_copy_commit, 1, 64, 256),
      CASE(wait_without_barrier, 1, 64, 256),
      CASE(misaligned_copy, 1, 1, 256),
      CASE(uninitialised_read, 1, 64),
      CASE(read_of_last_block, 2, 32, 256),
      CASE(uninitialised_sum, 1, 64),
      Case{"too_much_dynamic", &nothing, 1, 64, 227 * 1024 + 1},
      Case{"too_many_threads", &nothing, 1, 1025},
      Case{"too_many_blocks_to_cooperate", &nothing, 1000, 1024, 0, true},
      CASE(atomic_overrun, 1, 1),
      CASE(stack_overflow, 1, 2),
      CASE(endless_spin, 1, 32),
#ifndef __CUDACC__
      CASE(too_many_static, 1, 64),
      CASE(write_to_constant, 1, 2),
#endif
  };
#undef CASE
  for (const Case& one : cases) {
    if (name != one.name) continue;
    launch({one.name, one.blocks, one.threads, one.shared_bytes, nullptr, one.cooperative}, one.kernel, x,
           size);
    return;
  }
  throw std::invalid_argument("no kernel " + name);
}

}  // namespace simt_tests
