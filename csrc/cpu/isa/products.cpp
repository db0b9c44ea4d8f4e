// Compiled for each extension of an instruction set by products of shorter numbers, by product_set() in
// sets.cmake. Only this file's table leaves it.
#include "product_table.h"

namespace fusedlstm::FUSEDLSTM_ISA {

#if FUSEDLSTM_MULTIPLIES_BYTES
const ByteKernels& products();

const ByteKernels& products() {
  static constexpr ByteKernels all = byte_kernels();
  return all;
}
#else
const ProductKernels& products();

const ProductKernels& products() {
  static constexpr ProductKernels all = product_kernels();
  return all;
}
#endif

}  // namespace fusedlstm::FUSEDLSTM_ISA
