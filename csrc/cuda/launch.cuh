// Launches whose errors become exceptions with the kernel's name and shape. csrc/simt/launch.h has the same
// for the simulator.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>

#include "launch_shape.h"

namespace fusedlstm::cuda {

inline void check(cudaError_t error, const Launch& how) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // what is reported here is not found again by the next call
  const auto text = [](const dim3& d) {
    return std::string("(") + std::to_string(d.x) + ", " + std::to_string(d.y) + ", " + std::to_string(d.z) +
           ")";
  };
  throw std::runtime_error("kernel '" + std::string(how.name) + "', grid " + text(how.grid) + ", block " +
                           text(how.block) + ", " + std::to_string(how.shared_bytes) +
                           " bytes of shared memory: " + cudaGetErrorString(error));
}

// Arguments are converted to the kernel's parameters.
template <class... P, class... A>
void launch(const Launch& how, void (*kernel)(P...), A&&... arguments) {
  std::tuple<P...> values(std::forward<A>(arguments)...);
  const void* function = reinterpret_cast<const void*>(kernel);
  if (how.shared_bytes > 0) {
    check(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(how.shared_bytes)),
          how);
  }
  std::apply(
      [&](P&... value) {
        void* pointers[] = {static_cast<void*>(&value)..., nullptr};
        check(how.cooperative
                  ? cudaLaunchCooperativeKernel(function, how.grid, how.block, pointers, how.shared_bytes,
                                                how.stream)
                  : cudaLaunchKernel(function, how.grid, how.block, pointers, how.shared_bytes, how.stream),
              how);
      },
      values);
}

// How many blocks of a kernel the current device can hold at once.
template <class... P>
int resident_blocks(void (*kernel)(P...), int threads, std::size_t shared_bytes) {
  const Launch how{"resident_blocks", dim3(1), dim3(static_cast<unsigned>(threads)), shared_bytes};
  int device = 0;
  int multiprocessors = 0;
  int per_multiprocessor = 0;
  check(cudaGetDevice(&device), how);
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device), how);
  check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                             cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)),
        how);
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_multiprocessor, kernel, threads, shared_bytes),
        how);
  return per_multiprocessor * multiprocessors;
}

// Properties of the current device, as a structure with the members that plan.h's has.
template <class Properties>
Properties device_properties() {
  const Launch how{"device_properties", dim3(), dim3()};
  int device = 0;
  check(cudaGetDevice(&device), how);
  const auto read = [&](cudaDeviceAttr attribute) {
    int value = 0;
    check(cudaDeviceGetAttribute(&value, attribute, device), how);
    return value;
  };
  return {.major = read(cudaDevAttrComputeCapabilityMajor),
          .minor = read(cudaDevAttrComputeCapabilityMinor),
          .multiprocessors = read(cudaDevAttrMultiProcessorCount),
          .shared_per_block = static_cast<std::size_t>(read(cudaDevAttrMaxSharedMemoryPerBlockOptin))};
}

}  // namespace fusedlstm::cuda
