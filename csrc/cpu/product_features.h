// Instructions of product sets that a compiler's run-time check does not know, or that a process has to ask
// the operating system for.
#pragma once

namespace fusedlstm {

// Whether this process may use tile registers (AMX) to multiply bfloat16, and bytes.
bool has_bfloat16_tiles();
bool has_int8_tiles();

// Whether the processor multiplies bytes in vectors of 256 bits without AVX-512, if it has AVX2.
bool has_avx_vnni();

// Whether an Arm processor multiplies bytes.
bool has_dot_products();

}  // namespace fusedlstm
