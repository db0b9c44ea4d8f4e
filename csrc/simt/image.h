// Where this extension module lies in memory: its code and constants, and its thread-local variables, which
// are the kernels' static shared memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace simt {

struct MemoryRange {
  std::uintptr_t begin = 0;
  std::size_t bytes = 0;

  bool contains(std::uintptr_t address, std::size_t count) const {
    return address - begin < bytes && count <= bytes - (address - begin);
  }
};

MemoryRange module_image();
// ", file:line" of machine code of this module, as far as addr2line is there to tell; or "".
std::string source_line(std::uintptr_t instruction);
// The calling thread's thread-local variables.
MemoryRange thread_locals();

}  // namespace simt
