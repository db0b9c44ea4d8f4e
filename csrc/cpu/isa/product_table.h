// The kernels whose products are of shorter numbers.
#pragma once

#include "backward.h"
#include "dense.h"
#include "forward.h"
#include "norm_cell.h"
#include "operand_gradients.h"
#include "pack.h"
#include "pack_operands.h"

namespace fusedlstm::FUSEDLSTM_ISA {

constexpr ProductKernels product_kernels() {
  return {.round = round_to_operands,
          .transpose_gates = transpose_operand_gates,
          .transpose_panels = transpose_operand_panels,
          .forward = forward<float, BFloat16Operand>,
          .backward = backward<float, CellGradientPass<float>, BFloat16Operand>,
          .weight_gradients = weight_gradients<float, OperandGradients>,
          .pack = pack_operands,
          .dense = dense_of_operands,
          .multiply_adds = operand_multiply_adds,
          .gradient_rows = OperandGradients::rows,
          .costs = operand_costs};
}

constexpr ByteKernels byte_kernels() {
  return {.round = round_to_int8<float, Int8Operand>,
          .forward = forward<float, Int8Operand>,
          .multiply_adds = byte_multiply_adds,
          .costs = byte_costs};
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
