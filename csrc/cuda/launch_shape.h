// The shape of a launch, all that it is told besides the kernel and its arguments; the same for CUDA and for
// the simulator, after either's types.
#pragma once

#include <cstddef>

#include "stream.h"

namespace fusedlstm::cuda {

struct Launch {
  const char* name;  // of the kernel, for errors
  dim3 grid;
  dim3 block;
  std::size_t shared_bytes = 0;  // dynamic; more than the default is asked for
  cudaStream_t stream = nullptr;
  bool cooperative = false;  // sync_grid() needs it
};

}  // namespace fusedlstm::cuda
