#include "strict.h"

#include <pybind11/stl.h>

#include <atomic>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "../cpu/dispatch.h"
#include "checks.h"
#include "module.h"

namespace fusedlstm::bindings {
namespace {

std::atomic<bool> strict_everywhere{false};
// A thread's choice for itself, as long as it has one.
thread_local std::optional<bool> strict_here;

bool strict() { return strict_here.value_or(strict_everywhere.load(std::memory_order_relaxed)); }

void configure_from_environment() {
  const char* text = std::getenv("FUSEDLSTM_STRICT");
  if (text == nullptr || *text == '\0') return;
  const std::string_view value(text);
  if (value != "0" && value != "1") raise_value("FUSEDLSTM_STRICT", "0 or 1", "'" + std::string(value) + "'");
  strict_everywhere = value == "1";
}

}  // namespace

void fall_back(const std::string& reason) {
  if (strict()) throw FallbackError(reason + " (in strict mode this is an error)");
}

void check_kernels() {
  if (scalar_by_default()) {
    fall_back("kernels: expected a vector instruction set, this process can run the scalar ones only");
  }
}

void bind_strict(py::module_& module) {
  configure_from_environment();
  const py::exception<FallbackError>& error =
      py::register_exception<FallbackError>(module, "FallbackError", PyExc_RuntimeError);
  error.attr("__module__") = "fusedlstm";
  error.attr("__doc__") = "A call would have taken a slower way, which strict mode does not allow.";
  module.def("get_strict", &strict);
  module.def("set_strict", [](bool on) { strict_everywhere = on; }, py::arg("on"));
  module.def("set_strict_here", [](std::optional<bool> on) {
    std::swap(strict_here, on);
    return on;
  });
}

}  // namespace fusedlstm::bindings
