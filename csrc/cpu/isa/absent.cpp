// In the place of kernels.cpp for a type of numbers that FUSEDLSTM_KERNELS leaves out: a table of nothing.
// The bindings refuse arrays of that type.
#include "../kernels.h"

namespace fusedlstm::FUSEDLSTM_ISA {

template <class T>
const Kernels<T>& kernels();

template <>
const Kernels<FUSEDLSTM_NUMBER>& kernels() {
  static constexpr Kernels<FUSEDLSTM_NUMBER> none{};
  return none;
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
