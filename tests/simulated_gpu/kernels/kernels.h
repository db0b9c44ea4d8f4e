// Launchers of the simulator's test kernels. Arrays lie in device memory.
#pragma once

#include <cstdint>
#include <string>

namespace simt_tests {

// correct.cu
void reduce_rows(const float* x, float* sums, int rows, int columns);
void multiply_matrices(const float* a, const float* b, float* c, int m, int n, int k);
// a (16,K), b (K,8) and c (16,8), by one tensor-core product; K = 8 for "tf32" and "tf32 truncated", else 16.
void multiply_tile(const std::string& number, const float* a, const float* b, const float* c, float* d);
// Each step adds its left neighbour's value of the step before, over `blocks` blocks; ends in x.
void pipeline(float* x, float* scratch, int size, int steps, int blocks);
// The same for each row of x, row r with steps + r steps, which end in x where that is even.
void pipelines(float* x, float* scratch, unsigned* counters, int rows, int columns, int steps, int group);
void transpose_tile(const std::uint16_t* x, std::uint16_t* y);
void histogram(const int* x, int* counts, int size, int bins);
void votes(const int* x, int* results, int size);
void convert(const float* x, float* half, float* bfloat16, float* tf32, int size);
void intrinsics(const float* x, float* y, int size);
void scan_warps(const float* x, float* y, int size);
void barrier_storm(int blocks, int threads, int barriers);

// faulty.cu: by name
void run_faulty(const std::string& name, float* x, int size);

}  // namespace simt_tests
