// Neighbouring numbers that move between memory and registers in one access, where they are aligned to it.
#pragma once

#include <cstdint>

#include "device.cuh"

namespace fusedlstm::cuda {

// Numbers in the widest access, of 16 bytes.
template <class T>
constexpr int widest = 16 / static_cast<int>(sizeof(T));

template <class T, int count>
struct Pack {
  static_assert(count == 1 || count == widest<T>);
  T v[count];

  static __device__ __forceinline__ Pack load(const T* p) {
    Pack pack;
    if constexpr (count == 1) {
      pack.v[0] = *p;
    } else if constexpr (count == 2) {
      const double2 all = *reinterpret_cast<const double2*>(p);
      pack.v[0] = all.x;
      pack.v[1] = all.y;
    } else {
      const float4 all = *reinterpret_cast<const float4*>(p);
      pack.v[0] = all.x;
      pack.v[1] = all.y;
      pack.v[2] = all.z;
      pack.v[3] = all.w;
    }
    return pack;
  }
  __device__ __forceinline__ void store(T* p) const {
    if constexpr (count == 1) {
      *p = v[0];
    } else if constexpr (count == 2) {
      *reinterpret_cast<double2*>(p) = make_double2(v[0], v[1]);
    } else {
      *reinterpret_cast<float4*>(p) = make_float4(v[0], v[1], v[2], v[3]);
    }
  }
};

// Whether rows of so many numbers, at every one of these addresses or none, are made of whole packs.
template <class T, class... P>
bool in_packs(std::int64_t row, const P*... arrays) {
  const auto aligned = [](const void* p) { return reinterpret_cast<std::uintptr_t>(p) % 16 == 0; };
  return row % widest<T> == 0 && (aligned(arrays) && ...);
}

}  // namespace fusedlstm::cuda
