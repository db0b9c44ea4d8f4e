// The instruction set whose kernels run: chosen once for the process, changeable, looked up once per call.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kernels.h"

namespace fusedlstm {

// Sets that this library was built with, this processor has and FUSEDLSTM_DISABLE does not name, best first.
std::vector<std::string> instruction_sets();

// The set in use: the best one, or what FUSEDLSTM_INSTRUCTION_SET names.
const KernelSet& kernels();

// Sets of instructions that multiply bfloat16 (ProductKernels) or bytes (ByteKernels) for kernels of `set`,
// best first; the last one is the set itself, which does it by wider ones.
template <class Products>
std::vector<ProductSet<Products>> product_sets(const KernelSet& set);

// The one in use: the best, or what was set.
template <class Products = ProductKernels>
ProductSet<Products> products(const KernelSet& set);

// Whether wider instructions multiply them for want of others, not because they were asked for.
template <class Products>
bool products_by_default(const KernelSet& set);

// Throws std::invalid_argument naming the choices; the best one for an empty name.
template <class Products>
void set_product_set(std::string_view name);

// Whether the scalar kernels are in use for want of others, not because they were asked for.
bool scalar_by_default();

// Throws std::invalid_argument naming the choices.
void set_instruction_set(std::string_view name);

// Reads FUSEDLSTM_DISABLE, FUSEDLSTM_INSTRUCTION_SET and FUSEDLSTM_NUM_THREADS; throws std::invalid_argument
// for values that are unknown or that this machine cannot honour.
void configure_from_environment();

}  // namespace fusedlstm
