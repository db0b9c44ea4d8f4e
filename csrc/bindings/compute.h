// `compute` arguments: which shorter numbers are multiplied.
#pragma once

#include "../cpu/kernel_run.h"
#include "checks.h"

namespace fusedlstm::bindings {

// Storage::operands for 'bfloat16', Storage::bytes for 'int8' where there is such a kernel. TypeError or
// ValueError, which says `expected`, for others.
Storage compute_of(const py::handle& compute, const char* expected, bool has_int8);

// The same of a product of this type of numbers, which is to be float32.
Storage compute_of_product(const py::handle& compute, Number number, const char* expected, bool has_int8);

// Throws in strict mode for weights whose numbers wider instructions would multiply.
void check_products(Storage storage);

}  // namespace fusedlstm::bindings
