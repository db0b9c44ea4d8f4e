// Sizes of a call, checked before anything is allocated or multiplied, and named where memory ends.
#pragma once

#include <initializer_list>
#include <new>
#include <string>

#include "../cpu/checked.h"
#include "checks.h"

namespace fusedlstm::bindings {

// ValueError that names the sizes, unless every product that a pass over the sequence makes of them fits 64
// bits. `name` is that of the argument that has them.
void check_sequence_sizes(const char* name, const Sizes& n, const char* outputs_letter);

// The same for products of matrices x (rows, inputs) and kernel (inputs, outputs), by their letters.
void check_matrix_sizes(const char* name, const Dim& rows, const Dim& inputs, const Dim& outputs);

// MemoryError that names the sizes.
[[noreturn]] void raise_memory(std::initializer_list<Dim> sizes);

// Calls body, with the interpreter's lock. Memory that it does not get is an error that names the sizes.
template <class Body>
auto naming_sizes(std::initializer_list<Dim> sizes, const Body& body) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    raise_memory(sizes);
  }
}

template <class Body>
auto naming_sizes(const Sizes& n, const char* outputs_letter, const Body& body) {
  return naming_sizes(
      {{"B", n.batch}, {"T", n.steps}, {"I", n.inputs}, {"H", n.units}, {outputs_letter, n.outputs}}, body);
}

}  // namespace fusedlstm::bindings
