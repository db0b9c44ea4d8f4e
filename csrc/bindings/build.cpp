// The decisions made when the package was built.
#include <string_view>

#include "build_notes.h"
#include "module.h"

namespace fusedlstm::bindings {
namespace {

// Why the CUDA kernels were not compiled beside this module, or None where they were. A compiler's words are
// not always UTF-8.
pybind11::object why_without_cuda() {
  constexpr std::string_view why = FUSEDLSTM_CUDA_MISSING;
  if (why.empty()) return pybind11::none();
  PyObject* text = PyUnicode_DecodeUTF8(why.data(), static_cast<Py_ssize_t>(why.size()), "replace");
  if (text == nullptr) throw pybind11::error_already_set();
  return pybind11::reinterpret_steal<pybind11::str>(text);
}

}  // namespace

void bind_build(pybind11::module_& module) { module.def("why_without_cuda", &why_without_cuda); }

}  // namespace fusedlstm::bindings
