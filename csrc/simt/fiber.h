// Stackful coroutines: each simulated thread is one. A switch is some twenty instructions on x86-64 and
// aarch64, and ucontext elsewhere (or with FUSEDLSTM_SIMT_UCONTEXT, for a test of it).
#pragma once

#include <cstddef>
#include <vector>

#if !defined(FUSEDLSTM_SIMT_UCONTEXT) && !defined(__x86_64__) && !defined(__aarch64__)
  #define FUSEDLSTM_SIMT_UCONTEXT
#endif
#ifdef FUSEDLSTM_SIMT_UCONTEXT
  #include <ucontext.h>
#endif

namespace simt {

#ifdef FUSEDLSTM_SIMT_UCONTEXT
using Context = ucontext_t;
#else
struct Context {
  void* stack_pointer = nullptr;
};
#endif

// `entry` runs on the stack when the context is first switched to, and never returns.
void prepare(Context& context, std::byte* stack, std::size_t bytes, void (*entry)());
void switch_context(Context& from, Context& to);

// Stacks that are kept for the next launch. Their memory is touched only as far as it is used.
class Stacks {
 public:
  static constexpr std::size_t bytes = 64 * 1024;
  // Room for a fault's report; a kernel that goes deeper has overflown its stack.
  static constexpr std::size_t reserve = 16 * 1024;

  Stacks() = default;
  ~Stacks();
  Stacks(const Stacks&) = delete;
  Stacks& operator=(const Stacks&) = delete;

  std::byte* at(std::size_t number);

 private:
  std::vector<std::byte*> chunks_;
};

}  // namespace simt
