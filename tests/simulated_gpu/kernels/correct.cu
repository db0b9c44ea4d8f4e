// Kernels that are right, as proof that the simulator computes what a GPU would and raises no false alarm.
#include <stdexcept>

#include "../../../csrc/cuda/device.cuh"
#include "kernels.h"

namespace simt_tests {
namespace {

using namespace fusedlstm::cuda;

constexpr unsigned all_lanes = 0xffffffff;

unsigned blocks_for(int size, int per_block) {
  return static_cast<unsigned>((size + per_block - 1) / per_block);
}

__device__ float sum_of_warp(float x) {
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(all_lanes, x, distance);
  return x;
}

__global__ void reduce_rows_kernel(const float* __restrict__ x, float* __restrict__ sums, int columns) {
  __shared__ float partial[4];
  const float* row = x + static_cast<std::ptrdiff_t>(blockIdx.x) * columns;
  float sum = 0.0f;
  for (int j = static_cast<int>(threadIdx.x); j < columns; j += 128) sum += row[j];
  sum = sum_of_warp(sum);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x == 0) sums[blockIdx.x] = (partial[0] + partial[1]) + (partial[2] + partial[3]);
}

// Tiles of 16 x 16, of which the next pair is on its way while one is used.
constexpr int tile = 16;

struct Tiles {
  float a[2][tile][tile];
  float b[2][tile][tile];
};

__global__ void __launch_bounds__(tile* tile)
    multiply_matrices_kernel(const float* a, const float* b, float* c, int m, int n, int k) {
  auto& tiles = *dynamic_shared<Tiles>();
  const int i = static_cast<int>(threadIdx.y);
  const int j = static_cast<int>(threadIdx.x);
  const int row = static_cast<int>(blockIdx.y) * tile + i;
  const int column = static_cast<int>(blockIdx.x) * tile + j;
  const auto fetch = [&](int slot, int start) {
    const bool in_a = row < m && start + j < k;
    const bool in_b = start + i < k && column < n;
    copy_async<4>(&tiles.a[slot][i][j], in_a ? a + row * k + start + j : a, in_a ? 4 : 0);
    copy_async<4>(&tiles.b[slot][i][j], in_b ? b + (start + i) * n + column : b, in_b ? 4 : 0);
    copy_async_commit();
  };
  fetch(0, 0);
  float sum = 0.0f;
  for (int start = 0, slot = 0; start < k; start += tile, slot ^= 1) {
    if (start + tile < k) {
      fetch(slot ^ 1, start + tile);
      copy_async_wait<1>();
    } else {
      copy_async_wait<0>();
    }
    __syncthreads();
    for (int l = 0; l < tile; ++l) sum = fmaf(tiles.a[slot][i][l], tiles.b[slot][l][j], sum);
    __syncthreads();
  }
  if (row < m && column < n) c[row * n + column] = sum;
}

// How a number becomes an operand of a tensor-core product.
struct Tf32 {
  static constexpr int depth = 8;
  static __device__ unsigned pack(const float* x, int) { return to_tf32(*x); }
  static __device__ void multiply(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                                  const float (&c)[4]) {
    mma_tf32(d, a, b, c);
  }
};
struct TruncatedTf32 : Tf32 {
  static __device__ unsigned pack(const float* x, int) { return __float_as_uint(*x); }
};
struct Half {
  static constexpr int depth = 16;
  static __device__ unsigned pack(const float* x, int stride) {
    const unsigned low = __half_as_ushort(__float2half_rn(x[0]));
    const unsigned high = __half_as_ushort(__float2half_rn(x[stride]));
    return low | high << 16;
  }
  static __device__ void multiply(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                                  const float (&c)[4]) {
    mma_f16(d, a, b, c);
  }
};
struct BFloat16 {
  static constexpr int depth = 16;
  static __device__ unsigned pack(const float* x, int stride) {
    const unsigned low = __bfloat16_as_ushort(__float2bfloat16_rn(x[0]));
    const unsigned high = __bfloat16_as_ushort(__float2bfloat16_rn(x[stride]));
    return low | high << 16;
  }
  static __device__ void multiply(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                                  const float (&c)[4]) {
    mma_bf16(d, a, b, c);
  }
};

template <class Number>
__global__ void multiply_tile_kernel(const float* a, const float* b, const float* c, float* d) {
  constexpr int depth = Number::depth;
  constexpr int pack = depth / 8;
  const int r = static_cast<int>(threadIdx.x) / 4;
  const int q = static_cast<int>(threadIdx.x) % 4;
  unsigned fa[4];
  unsigned fb[2];
  float fc[4];
  float fd[4];
  for (int i = 0; i < 4; ++i) {
    fa[i] = Number::pack(a + (r + i % 2 * 8) * depth + q * pack + i / 2 * 4 * pack, 1);
    fc[i] = c[(r + i / 2 * 8) * 8 + 2 * q + i % 2];
  }
  for (int i = 0; i < 2; ++i) fb[i] = Number::pack(b + (q * pack + i * 4 * pack) * 8 + r, 8);
  Number::multiply(fd, fa, fb, fc);
  for (int i = 0; i < 4; ++i) d[(r + i / 2 * 8) * 8 + 2 * q + i % 2] = fd[i];
}

__global__ void pipeline_kernel(float* x, float* scratch, int size, int steps) {
  __shared__ int done;
  const int stride = static_cast<int>(gridDim.x * blockDim.x);
  if (threadIdx.x == 0) done = 0;
  float* from = x;
  float* to = scratch;
  for (int step = 0; step < steps; ++step) {
    for (int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); i < size; i += stride) {
      to[i] = __ldcg(from + i) + __ldcg(from + (i + size - 1) % size);
    }
    sync_grid();
    // Static shared memory stays each block's own while others have their turns.
    if (threadIdx.x == 0) done += static_cast<int>(blockIdx.x) + 1;
    float* other = from;
    from = to;
    to = other;
  }
  __syncthreads();
  if (done != steps * (static_cast<int>(blockIdx.x) + 1)) x[0] = -1.0f;
}

// As pipeline_kernel on rows of their own, each by `group` blocks that wait for one another only.
__global__ void pipelines_kernel(float* x, float* scratch, unsigned* counters, int columns, int steps,
                                 int group) {
  const int row = static_cast<int>(blockIdx.x) / group;
  const int first =
      static_cast<int>(blockIdx.x) % group * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x);
  float* from = x + row * columns;
  float* to = scratch + row * columns;
  BlockBarrier barrier(counters + row, static_cast<unsigned>(group));
  // Rows differ in length, so that groups do not run in step.
  for (int step = 0; step < steps + row; ++step) {
    for (int i = first; i < columns; i += group * static_cast<int>(blockDim.x)) {
      to[i] = __ldcg(from + i) + __ldcg(from + (i + columns - 1) % columns);
    }
    barrier.meet();
    float* other = from;
    from = to;
    to = other;
  }
}

__global__ void transpose_tile_kernel(const std::uint16_t* x, std::uint16_t* y) {
  __shared__ __align__(16) std::uint16_t rows[32][8];
  reinterpret_cast<uint4*>(rows)[threadIdx.x] = reinterpret_cast<const uint4*>(x)[threadIdx.x];
  __syncwarp();
  unsigned plain[4];
  unsigned transposed[4];
  load_matrices<4>(plain, rows[threadIdx.x]);
  load_matrices<4, true>(transposed, rows[threadIdx.x]);
  for (int i = 0; i < 4; ++i) {
    reinterpret_cast<unsigned*>(y)[i * 32 + static_cast<int>(threadIdx.x)] = plain[i];
    reinterpret_cast<unsigned*>(y)[128 + i * 32 + static_cast<int>(threadIdx.x)] = transposed[i];
  }
}

__global__ void histogram_kernel(const int* x, int* counts, int size, int bins) {
  int* own = dynamic_shared<int>();
  for (int i = static_cast<int>(threadIdx.x); i < bins; i += static_cast<int>(blockDim.x)) own[i] = 0;
  __syncthreads();
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < size) atomicAdd(own + x[i], 1);
  __syncthreads();
  for (int j = static_cast<int>(threadIdx.x); j < bins; j += static_cast<int>(blockDim.x)) {
    if (own[j] != 0) atomicAdd(counts + j, own[j]);
  }
}

// (8): warp's ballot, any, all, and the same of the block, of 40 threads: its second warp is not whole.
__global__ void votes_kernel(const int* x, int* results, int size) {
  const int i = static_cast<int>(threadIdx.x);
  const int mine = i < size ? x[i] : 0;
  const unsigned ballot = __ballot_sync(all_lanes, mine);
  const int any = __any_sync(all_lanes, mine);
  const int all = __all_sync(all_lanes, mine);
  const int count = __syncthreads_count(mine);
  const int every = __syncthreads_and(mine);
  const int some = __syncthreads_or(mine);
  const int base = i / 32 * 6;
  if (i % 32 == 0) {
    results[base] = static_cast<int>(ballot);
    results[base + 1] = any;
    results[base + 2] = all != 0;
    results[base + 3] = count;
    results[base + 4] = every != 0;
    results[base + 5] = some != 0;
  }
}

__global__ void convert_kernel(const float* x, float* half_, float* bfloat16, float* tf32, int size) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= size) return;
  half_[i] = __half2float(__float2half_rn(x[i]));
  bfloat16[i] = __bfloat162float(__float2bfloat16_rn(x[i]));
  tf32[i] = __uint_as_float(to_tf32(x[i]));
}

// (7, size): what is less exact than <cmath>, and vectors of 16 bytes on the way.
__global__ void intrinsics_kernel(const float4* x, float4* y, int vectors) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= vectors) return;
  const float4 v = x[i];
  const float in[4] = {v.x, v.y, v.z, v.w};
  float out[7][4];
  for (int j = 0; j < 4; ++j) {
    const float size = fabsf(in[j]);
    out[0][j] = __expf(in[j]);
    out[1][j] = __logf(size);
    out[2][j] = __fdividef(1.0f, in[j]);
    out[3][j] = rsqrtf(size);
    out[4][j] = tanh_approx(in[j]);
    out[5][j] = __saturatef(in[j]);
    out[6][j] = max(min(in[j], 1.0f), -1.0f);
  }
  for (int k = 0; k < 7; ++k) y[k * vectors + i] = make_float4(out[k][0], out[k][1], out[k][2], out[k][3]);
}

// Running sums of each 32 numbers by way of shared memory, ordered within a warp only; then by shuffles.
__global__ void scan_warps_kernel(const float* x, float* y, int size) {
  __shared__ float row[2][64];
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int place = static_cast<int>(threadIdx.x);
  const int lane = place % 32;
  float shuffled = i < size ? x[i] : 0.0f;
  row[0][place] = shuffled;
  __syncwarp();
  int from = 0;
  for (int distance = 1; distance < 32; distance *= 2, from ^= 1) {
    row[from ^ 1][place] = row[from][place] + (lane >= distance ? row[from][place - distance] : 0.0f);
    const float left = __shfl_up_sync(all_lanes, shuffled, static_cast<unsigned>(distance));
    if (lane >= distance) shuffled += left;
    __syncwarp();
  }
  if (i < size) y[i] = row[from][place] == shuffled ? shuffled : -1.0f;
}

__global__ void barrier_storm_kernel(int barriers) {
  for (int i = 0; i < barriers; ++i) __syncthreads();
}

}  // namespace

void reduce_rows(const float* x, float* sums, int rows, int columns) {
  launch({"reduce_rows", dim3(static_cast<unsigned>(rows)), 128}, reduce_rows_kernel, x, sums, columns);
}

void multiply_matrices(const float* a, const float* b, float* c, int m, int n, int k) {
  launch(
      {"multiply_matrices", dim3(blocks_for(n, tile), blocks_for(m, tile)), dim3(tile, tile), sizeof(Tiles)},
      multiply_matrices_kernel, a, b, c, m, n, k);
}

void multiply_tile(const std::string& number, const float* a, const float* b, const float* c, float* d) {
  const auto kernel = number == "tf32"             ? &multiply_tile_kernel<Tf32>
                      : number == "tf32 truncated" ? &multiply_tile_kernel<TruncatedTf32>
                      : number == "float16"        ? &multiply_tile_kernel<Half>
                      : number == "bfloat16"       ? &multiply_tile_kernel<BFloat16>
                                                   : nullptr;
  if (kernel == nullptr) throw std::invalid_argument("no product of " + number);
  launch({"multiply_tile", 1, 32}, kernel, a, b, c, d);
}

void pipeline(float* x, float* scratch, int size, int steps, int blocks) {
  launch({.name = "pipeline", .grid = static_cast<unsigned>(blocks), .block = 64, .cooperative = true},
         pipeline_kernel, x, scratch, size, steps);
}

void pipelines(float* x, float* scratch, unsigned* counters, int rows, int columns, int steps, int group) {
  launch({.name = "pipelines", .grid = static_cast<unsigned>(rows * group), .block = 64, .cooperative = true},
         pipelines_kernel, x, scratch, counters, columns, steps, group);
}

void transpose_tile(const std::uint16_t* x, std::uint16_t* y) {
  launch({"transpose_tile", 1, 32}, transpose_tile_kernel, x, y);
}

void histogram(const int* x, int* counts, int size, int bins) {
  launch({"histogram", blocks_for(size, 64), 64, static_cast<std::size_t>(bins) * sizeof(int)},
         histogram_kernel, x, counts, size, bins);
}

void votes(const int* x, int* results, int size) { launch({"votes", 1, 40}, votes_kernel, x, results, size); }

void convert(const float* x, float* half, float* bfloat16, float* tf32, int size) {
  launch({"convert", blocks_for(size, 256), 256}, convert_kernel, x, half, bfloat16, tf32, size);
}

void intrinsics(const float* x, float* y, int size) {
  launch({"intrinsics", blocks_for(size / 4, 64), 64}, intrinsics_kernel, reinterpret_cast<const float4*>(x),
         reinterpret_cast<float4*>(y), size / 4);
}

void scan_warps(const float* x, float* y, int size) {
  launch({"scan_warps", blocks_for(size, 64), 64}, scan_warps_kernel, x, y, size);
}

void barrier_storm(int blocks, int threads, int barriers) {
  launch({"barrier_storm", static_cast<unsigned>(blocks), static_cast<unsigned>(threads)},
         barrier_storm_kernel, barriers);
}

}  // namespace simt_tests
