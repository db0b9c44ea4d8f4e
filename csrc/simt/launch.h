// Launches on the simulated device, as csrc/cuda/launch.cuh has them on a real one.
#pragma once

#include <cstddef>
#include <tuple>
#include <utility>

#include "fault.h"
#include "runtime.h"
#include "types.h"

// After types.h, whose dim3 it uses.
#include "../cuda/launch_shape.h"

namespace fusedlstm::cuda {

template <class... P, class... A>
void launch(const Launch& how, void (*kernel)(P...), A&&... arguments) {
  struct Call {
    void (*kernel)(P...);
    std::tuple<P...> arguments;
  } call{kernel, std::tuple<P...>(std::forward<A>(arguments)...)};
  const auto run_thread = [](void* pointer) {
    const Call& own = *static_cast<const Call*>(pointer);
    std::apply(own.kernel, own.arguments);
  };
  const auto size = [](const dim3& d) { return simt::Index3{d.x, d.y, d.z}; };
  simt::run({how.name, size(how.grid), size(how.block), how.shared_bytes, how.cooperative, run_thread, &call,
             sizeof call});
}

template <class... P>
int resident_blocks(void (*)(P...), int threads, std::size_t shared_bytes) {
  return simt::resident_blocks(threads, shared_bytes);
}

template <class Properties>
Properties device_properties() {
  const simt::DeviceSize size = simt::device_size();
  return {.major = size.major,
          .minor = size.minor,
          .multiprocessors = size.multiprocessors,
          .shared_per_block = size.shared_per_block};
}

}  // namespace fusedlstm::cuda
