// A pause of a thread that waits awake.
#pragma once

namespace fusedlstm {

inline void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace fusedlstm
