#include "sizes.h"

#include <cstring>

#include "module.h"

namespace fusedlstm::bindings {
namespace {

std::string sizes_text(std::initializer_list<Dim> sizes) {
  std::string text;
  const char* before = "";
  for (const Dim& dim : sizes) {
    // Without a projection R is H, and has its letter; so has a second side of the same length.
    if (std::strcmp(dim.letter, before) == 0) continue;
    if (!text.empty()) text += ", ";
    text += std::string(dim.letter) + "=" + std::to_string(dim.length);
    before = dim.letter;
  }
  return text;
}

[[noreturn]] void raise_sizes(const char* name, std::initializer_list<Dim> sizes) {
  raise_value(name, "sizes whose products fit 64 bits", sizes_text(sizes));
}

}  // namespace

void check_sequence_sizes(const char* name, const Sizes& n, const char* outputs_letter) {
  if (products_fit(n)) return;
  raise_sizes(name,
              {{"B", n.batch}, {"T", n.steps}, {"I", n.inputs}, {"H", n.units}, {outputs_letter, n.outputs}});
}

void check_matrix_sizes(const char* name, const Dim& rows, const Dim& inputs, const Dim& outputs) {
  if (!products_fit(rows.length, inputs.length, outputs.length)) raise_sizes(name, {rows, inputs, outputs});
}

void raise_memory(std::initializer_list<Dim> sizes) { raise_memory(sizes_text(sizes)); }

// For arrays that lie on a device, whose sizes Python knows.
void bind_sizes(py::module_& module) {
  module.def("check_sequence_sizes", [](const char* name, Index batch, Index steps, Index inputs, Index units,
                                        Index outputs) {
    check_sequence_sizes(name, {batch, steps, inputs, units, outputs}, outputs == units ? "H" : "R");
  });
  // `letters`: those of the three sizes.
  module.def("check_matrix_sizes",
             [](const char* name, const std::string& letters, Index rows, Index inputs, Index outputs) {
               const std::string names[] = {letters.substr(0, 1), letters.substr(1, 1), letters.substr(2, 1)};
               check_matrix_sizes(name, {names[0].c_str(), rows}, {names[1].c_str(), inputs},
                                  {names[2].c_str(), outputs});
             });
}

}  // namespace fusedlstm::bindings
