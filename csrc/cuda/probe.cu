// Never part of the kernels: toolkit.cmake compiles and links it to see whether an nvcc is complete, and
// works with the host compiler. Everything that kernels include is included here.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "formats.cuh"
#include "launch.cuh"
#include "ptx.cuh"
#include "storage.cuh"

__global__ void double_kernel(float* x) { *x += *x; }

void launch_probe(float* x) {
  double_kernel<<<1, 1>>>(x);
  if (cudaGetLastError() != cudaSuccess) throw std::runtime_error("probe");
}
