// The extension module _cuda: the devices of this machine, and the kernels. It holds the CUDA runtime, so
// that importing it needs no driver.
#include <cuda_runtime_api.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <stdexcept>
#include <string>

#include "bindings.h"

namespace py = pybind11;

namespace fusedlstm::cuda {
namespace {

void check(cudaError_t error, const char* call) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // what is reported here is not found again by the next call
  throw std::runtime_error(std::string(call) + ": " + cudaGetErrorString(error));
}

struct Devices {
  int count = 0;
  std::optional<std::string> why_none;
};

// Asked anew each time: the runtime is what remembers.
Devices devices() {
  Devices found;
  const cudaError_t error = cudaGetDeviceCount(&found.count);
  if (error != cudaSuccess) {
    cudaGetLastError();
    found.count = 0;
    found.why_none = std::string("no CUDA device: ") + cudaGetErrorString(error);
  } else if (found.count == 0) {
    found.why_none = "no CUDA device: the driver lists none";
  }
  return found;
}

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, device), "cudaDeviceGetAttribute");
  return value;
}

// None where runtime or driver no longer tell.
py::object attribute_if_told(cudaDeviceAttr which, int device) {
  int value = 0;
  const cudaError_t error = cudaDeviceGetAttribute(&value, which, device);
  if (error == cudaSuccess && value > 0) return py::int_(value);
  if (error != cudaSuccess && error != cudaErrorInvalidValue && error != cudaErrorNotSupported) {
    check(error, "cudaDeviceGetAttribute");
  }
  cudaGetLastError();
  return py::none();
}

py::dict device_properties(int index) {
  const Devices found = devices();
  if (found.why_none) throw std::runtime_error(*found.why_none);
  if (index < 0 || index >= found.count) {
    throw py::value_error("index: expected a device from 0 to " + std::to_string(found.count - 1) + ", got " +
                          std::to_string(index));
  }
  cudaDeviceProp properties{};
  int driver = 0;
  int runtime = 0;
  check(cudaGetDeviceProperties(&properties, index), "cudaGetDeviceProperties");
  check(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
  check(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion");
  py::dict result;
  result["name"] = std::string(properties.name);
  result["major"] = attribute(cudaDevAttrComputeCapabilityMajor, index);
  result["minor"] = attribute(cudaDevAttrComputeCapabilityMinor, index);
  result["multiprocessors"] = attribute(cudaDevAttrMultiProcessorCount, index);
  result["shared_per_block"] = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, index);
  result["shared_per_multiprocessor"] = attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor, index);
  result["registers_per_multiprocessor"] = attribute(cudaDevAttrMaxRegistersPerMultiprocessor, index);
  result["l2_bytes"] = attribute(cudaDevAttrL2CacheSize, index);
  result["memory_bytes"] = properties.totalGlobalMem;
  result["cooperative_launch"] = attribute(cudaDevAttrCooperativeLaunch, index) != 0;
  result["clock_khz"] = attribute_if_told(cudaDevAttrClockRate, index);
  result["memory_clock_khz"] = attribute_if_told(cudaDevAttrMemoryClockRate, index);
  result["memory_bus_bits"] = attribute_if_told(cudaDevAttrGlobalMemoryBusWidth, index);
  result["driver_version"] = driver;
  result["runtime_version"] = runtime;
  return result;
}

}  // namespace
}  // namespace fusedlstm::cuda

PYBIND11_MODULE(_cuda, module) {
  using namespace fusedlstm::cuda;
  module.doc() = "Compiled CUDA kernels of fusedlstm; use them through fusedlstm.ops and fusedlstm.cuda.";
  module.attr("architectures") = py::make_tuple(FUSEDLSTM_CUDA_ARCHITECTURES);
  module.def("device_count", [] { return devices().count; });
  module.def("why_unavailable", [] { return devices().why_none; });
  module.def("device_properties", &device_properties, py::arg("index"));
  bind_kernels(module);
}
