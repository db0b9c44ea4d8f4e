// Neighbouring numbers that move between memory and registers in one access, where they are aligned to it.
#pragma once

#include <cstdint>

#include "device.cuh"

namespace fusedlstm::cuda {

// Numbers in the widest access, of 16 bytes.
template <class T>
constexpr int widest = 16 / static_cast<int>(sizeof(T));

// CUDA's vector of 16 bytes.
template <class T>
struct WideVector;
template <>
struct WideVector<double> {
  using type = double2;
};
template <>
struct WideVector<float> {
  using type = float4;
};
template <>
struct WideVector<unsigned> {
  using type = uint4;
};

template <class T, int count>
struct Pack {
  static_assert(count == 1 || count == widest<T>);
  using Wide = typename WideVector<T>::type;
  T v[count];

  static __device__ __forceinline__ Pack load(const T* p) {
    Pack pack;
    if constexpr (count == 1) {
      pack.v[0] = *p;
    } else if constexpr (count == 2) {
      const Wide all = *reinterpret_cast<const Wide*>(p);
      pack.v[0] = all.x;
      pack.v[1] = all.y;
    } else {
      const Wide all = *reinterpret_cast<const Wide*>(p);
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
      *reinterpret_cast<Wide*>(p) = Wide{v[0], v[1]};
    } else {
      *reinterpret_cast<Wide*>(p) = Wide{v[0], v[1], v[2], v[3]};
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
