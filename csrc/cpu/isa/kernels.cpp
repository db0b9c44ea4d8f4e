// Compiled once per instruction set and type of numbers, by instruction_set() in sets.cmake. Only this file's
// table leaves it.
#include "../kernels.h"

#include "backward.h"
#include "ctc.h"
#include "dense.h"
#include "elementwise.h"
#include "forward.h"
#include "gradients.h"
#include "layer_norm.h"
#include "norm_cell.h"
#include "pack.h"
#include "product_table.h"
#include "tangents.h"

namespace fusedlstm::FUSEDLSTM_ISA {
namespace {

template <class T>
constexpr Kernels<T> table() {
  Kernels<T> kernels{.width = Vec<T>::width,
                     .tile_rows = Tile<T>::rows,
                     .block = Tile<T>::block,
                     .group = gradient_group<T>,
                     .joins_products = Tile<T>::registers_32,
                     .pack_gates = pack_gates<T>,
                     .transpose_gates = transpose_gates<T>,
                     .transpose_panels = transpose_panels<T>,
                     .pack_matrix = pack_matrix<T>,
                     .forward = forward<T, T>,
                     .backward = backward<T>,
                     .weight_gradients = weight_gradients<T>,
                     .peephole_gradients = peephole_gradients<T>,
                     .dense = dense<T>,
                     .tangents = forward<T, T, Tangents<T>>,
                     .second_backward = backward<T, GradientTangents<T>>,
                     .gate_product = gate_product<T>,
                     .layer_norm = layer_norm<T>,
                     .layer_norm_gradients = layer_norm_gradients<T>,
                     .add_rows = add_rows<T>,
                     .ctc = ctc<T>,
                     .cell_forward = cell_forward_rows<T>,
                     .cell_backward = cell_backward_rows<T>,
                     .dropout = dropout<T>,
                     .scatter_rows = scatter_rows<T>,
                     .updates = update_kernels<T>(UpdateRules<T>{}),
                     .squared_norm = squared_norm<T>,
                     .multiply_adds = multiply_adds<T>};
  if constexpr (sizeof(T) == sizeof(float)) {
    kernels.round_to_bfloat16 = round_to_bfloat16<T>;
    kernels.round_to_int8 = round_to_int8<T, std::int8_t>;
    kernels.forward_bfloat16 = forward<T, BFloat16>;
    kernels.forward_int8 = forward<T, std::int8_t>;
    kernels.products = product_kernels();
    kernels.bytes = byte_kernels();
  }
  return kernels;
}

}  // namespace

template <class T>
const Kernels<T>& kernels();

template <>
const Kernels<FUSEDLSTM_NUMBER>& kernels() {
  static constexpr Kernels<FUSEDLSTM_NUMBER> all = table<FUSEDLSTM_NUMBER>();
  return all;
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
