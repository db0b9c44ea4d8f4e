// Functions that the compiler calls. Kernels are compiled with -fsanitize=thread,alignment,bounds, which has
// the compiler announce every access to memory before it happens, and every misaligned or overrun one. The
// sanitizers' own libraries are not linked: these functions take their place, so that kernels are checked
// with the pointers they have, and know nothing of it.
#include <cstdint>
#include <string>

#include "machine.h"

namespace simt {
namespace {

[[gnu::always_inline]] inline void announce(const void* pointer, std::size_t bytes, Access kind) {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  if (address - private_memory.begin < private_memory.bytes) return;
  Machine& machine = Machine::get();
  machine.note(__builtin_return_address(0));
  machine.check(address, bytes, kind);
}

[[gnu::always_inline]] inline void announce_aligned(const void* pointer, std::size_t bytes, Access kind) {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  if (address - private_memory.begin < private_memory.bytes) return;
  Machine& machine = Machine::get();
  machine.note(__builtin_return_address(0));
  if (address % bytes != 0) {
    machine.abandon(machine.thread(), "misaligned: " + std::to_string(bytes) +
                                          " bytes at an address that is not a multiple of that");
  }
  machine.check(address, bytes, kind);
}

[[gnu::always_inline]] inline void check_range(const void* address, std::size_t bytes, std::size_t alignment,
                                               Access kind) {
  Machine& machine = Machine::get();
  if (!machine.running()) return;
  machine.note(__builtin_return_address(0));
  if (reinterpret_cast<std::uintptr_t>(address) % alignment != 0) {
    machine.abandon(machine.thread(), "misaligned: " + std::to_string(bytes) +
                                          " bytes at an address that is not a multiple of " +
                                          std::to_string(alignment));
  }
  machine.check(reinterpret_cast<std::uintptr_t>(address), bytes, kind);
}

// As the compilers lay them out.
struct SourceLocation {
  const char* file;
  std::uint32_t line;
  std::uint32_t column;
};
struct TypeDescriptor {
  std::uint16_t kind;
  std::uint16_t info;
  char name[1];
};
struct TypeMismatch {
  SourceLocation where;
  const TypeDescriptor* type;
  unsigned char log_alignment;
  unsigned char kind;
};
struct OutOfBounds {
  SourceLocation where;
  const TypeDescriptor* array;
  const TypeDescriptor* index;
};

std::string place(const SourceLocation& where) {
  if (where.file == nullptr) return "an unknown place";
  const std::string file = where.file;
  return file.substr(file.find_last_of('/') + 1) + ":" + std::to_string(where.line);
}

}  // namespace

void check_read(const void* address, std::size_t bytes, std::size_t alignment) {
  check_range(address, bytes, alignment, Access::read);
}
void check_write(void* address, std::size_t bytes, std::size_t alignment) {
  check_range(address, bytes, alignment, Access::write);
}
void check_atomic(void* address, std::size_t bytes) { check_range(address, bytes, bytes, Access::atomic); }

}  // namespace simt

using simt::Access;

#define SIMT_ACCESSES(bytes)                                                                         \
  void __tsan_read##bytes(void* address) { simt::announce_aligned(address, bytes, Access::read); }   \
  void __tsan_write##bytes(void* address) { simt::announce_aligned(address, bytes, Access::write); } \
  void __tsan_unaligned_read##bytes(void* address) { simt::announce(address, bytes, Access::read); } \
  void __tsan_unaligned_write##bytes(void* address) { simt::announce(address, bytes, Access::write); }

extern "C" {

// The compilers know these by their names and types.
#pragma GCC diagnostic push
#ifndef __clang__
  #pragma GCC diagnostic ignored "-Wbuiltin-declaration-mismatch"
#endif

SIMT_ACCESSES(1)
SIMT_ACCESSES(2)
SIMT_ACCESSES(4)
SIMT_ACCESSES(8)
SIMT_ACCESSES(16)
void __tsan_read_range(void* address, std::size_t bytes) { simt::announce(address, bytes, Access::read); }
void __tsan_write_range(void* address, std::size_t bytes) { simt::announce(address, bytes, Access::write); }
void __tsan_init() {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}

void __tsan_func_entry(void*) {
  const auto depth = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  if (depth - simt::private_memory.begin >= simt::Stacks::reserve || !simt::Machine::get().running()) return;
  simt::fail("stack overflow: local variables take more than " +
             std::to_string(simt::Stacks::bytes - simt::Stacks::reserve) + " bytes");
}

void __ubsan_handle_type_mismatch_v1(simt::TypeMismatch* mismatch, std::uintptr_t) {
  if (!simt::Machine::get().running()) return;
  simt::fail("misaligned: " + std::string(mismatch->type->name) + " at " + simt::place(mismatch->where) +
             ", whose address is not a multiple of " +
             std::to_string(std::size_t{1} << mismatch->log_alignment));
}

void __ubsan_handle_out_of_bounds(simt::OutOfBounds* overrun, std::uintptr_t index) {
  if (!simt::Machine::get().running()) return;
  simt::fail("out of bounds: index " + std::to_string(static_cast<std::intptr_t>(index)) + " of " +
             overrun->array->name + " at " + simt::place(overrun->where));
}

#pragma GCC diagnostic pop
}
