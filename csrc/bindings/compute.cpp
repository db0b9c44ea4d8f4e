#include "compute.h"

#include "../cpu/dispatch.h"
#include "strict.h"

namespace fusedlstm::bindings {

Storage compute_of(const py::handle& compute, const char* expected, bool has_int8) {
  if (!py::isinstance<py::str>(compute)) raise_type("compute", expected, type_name(compute));
  const auto text = py::cast<std::string>(compute);
  if (text == "bfloat16") return Storage::operands;
  if (text == "int8" && has_int8) return Storage::bytes;
  raise_value("compute", expected, "'" + text + "'");
}

Storage compute_of_product(const py::handle& compute, Number number, const char* expected, bool has_int8) {
  const Storage storage = compute_of(compute, expected, has_int8);
  if (number == Number::f64) {
    raise_value("compute", "None for float64", "'" + py::cast<std::string>(compute) + "'");
  }
  return storage;
}

void check_products(Storage storage) {
  const auto refuse = [](const char* numbers, const char* wider) {
    fall_back("compute: expected instructions that multiply " + std::string(numbers) + ", this process has " +
              wider + " for it, of " + kernels().name);
  };
  if (storage == Storage::operands && products_by_default<ProductKernels>(kernels())) {
    refuse("bfloat16", "float32's");
  }
  if (storage == Storage::bytes && products_by_default<ByteKernels>(kernels())) {
    refuse("int8", "those of 16 bits");
  }
}

}  // namespace fusedlstm::bindings
