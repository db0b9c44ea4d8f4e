// Compiled for each extension of an instruction set by products of bfloat16, by product_set() in sets.cmake.
// Only this file's table leaves it.
#include "product_table.h"

namespace fusedlstm::FUSEDLSTM_ISA {

const ProductKernels& products();

const ProductKernels& products() {
  static constexpr ProductKernels all = product_kernels();
  return all;
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
