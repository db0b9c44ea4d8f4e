// The number types of arrays, for kernels that store all of them.
#pragma once

#include <type_traits>

#include "device.cuh"

namespace fusedlstm::cuda {

// What numbers of a type are computed in.
template <class T>
using SumOf = std::conditional_t<std::is_same_v<T, double>, double, float>;

}  // namespace fusedlstm::cuda

#define FUSEDLSTM_FOR_EACH_NUMBER_TYPE(instantiate) \
  instantiate(float) instantiate(double) instantiate(__half) instantiate(__nv_bfloat16)
