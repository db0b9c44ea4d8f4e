#include "module.h"

#include "../cpu/dispatch.h"

PYBIND11_MODULE(_core, module) {
  module.doc() = "Compiled kernels of fusedlstm; use them through fusedlstm.ops.";
  fusedlstm::configure_from_environment();
  fusedlstm::bindings::bind_build(module);
  fusedlstm::bindings::bind_strict(module);
  fusedlstm::bindings::bind_machine(module);
  fusedlstm::bindings::bind_overlap(module);
  fusedlstm::bindings::bind_sizes(module);
  fusedlstm::bindings::bind_cell_options(module);
  fusedlstm::bindings::bind_weights(module);
  fusedlstm::bindings::bind_lstm(module);
  fusedlstm::bindings::bind_second_order(module);
  fusedlstm::bindings::bind_dense(module);
  fusedlstm::bindings::bind_layer_norm(module);
  fusedlstm::bindings::bind_ctc(module);
  fusedlstm::bindings::bind_elementwise(module);
  fusedlstm::bindings::bind_embedding(module);
  fusedlstm::bindings::bind_ctc_decode(module);
  fusedlstm::bindings::bind_edit_distance(module);
}
