// Compiled for each extension of an instruction set by products of bfloat16, by product_set() in sets.cmake.
// Only this file's table leaves it.
#include "../kernels.h"
#include "forward.h"
#include "norm_cell.h"

namespace fusedlstm::FUSEDLSTM_ISA {

const ProductKernels& products();

const ProductKernels& products() {
  static constexpr ProductKernels all = {forward<float, BFloat16Operand>, operand_costs};
  return all;
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
