#include "fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

namespace simt {

#if defined(FUSEDLSTM_SIMT_UCONTEXT)

void prepare(Context& context, std::byte* stack, std::size_t bytes, void (*entry)()) {
  getcontext(&context);
  context.uc_stack.ss_sp = stack;
  context.uc_stack.ss_size = bytes;
  context.uc_link = nullptr;
  makecontext(&context, entry, 0);
}

void switch_context(Context& from, Context& to) { swapcontext(&from, &to); }

#else

// Keeps what a called function must preserve on the old stack, and takes it from the new one. Floating-point
// control registers are left alone: no kernel changes them.
extern "C" void simt_switch(void** from, void* to);

  #if defined(__x86_64__)
asm(R"(
  .text
  .type simt_switch, @function
  .hidden simt_switch
  .globl simt_switch
simt_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  popq %rcx
  jmp *%rcx
  .size simt_switch, .-simt_switch
)");
constexpr std::size_t saved_words = 8;  // the six registers, the address to go to, and a filler
constexpr std::size_t address_word = 6;
  #else
asm(R"(
  .text
  .type simt_switch, %function
  .hidden simt_switch
  .globl simt_switch
simt_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x2, sp
  str x2, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  br x30
  .size simt_switch, .-simt_switch
)");
constexpr std::size_t saved_words = 20;
constexpr std::size_t address_word = 11;
  #endif

void prepare(Context& context, std::byte* stack, std::size_t bytes, void (*entry)()) {
  auto* words = reinterpret_cast<std::uintptr_t*>(stack + bytes) - saved_words;
  for (std::size_t i = 0; i < saved_words; ++i) words[i] = 0;
  words[address_word] = reinterpret_cast<std::uintptr_t>(entry);
  context.stack_pointer = words;
}

void switch_context(Context& from, Context& to) { simt_switch(&from.stack_pointer, to.stack_pointer); }

#endif

namespace {
constexpr std::size_t stacks_per_chunk = 256;
// Below the lowest stack, so that an overflow is found before it hits foreign memory.
constexpr std::size_t spare_bytes = 1024 * 1024;
constexpr std::size_t chunk_bytes = spare_bytes + stacks_per_chunk * Stacks::bytes;
}  // namespace

Stacks::~Stacks() {
  for (std::byte* chunk : chunks_) munmap(chunk, chunk_bytes);
}

std::byte* Stacks::at(std::size_t number) {
  while (number / stacks_per_chunk >= chunks_.size()) {
    void* chunk = mmap(nullptr, chunk_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (chunk == MAP_FAILED) throw std::bad_alloc();
    chunks_.push_back(static_cast<std::byte*>(chunk));
  }
  return chunks_[number / stacks_per_chunk] + spare_bytes + number % stacks_per_chunk * bytes;
}

}  // namespace simt
