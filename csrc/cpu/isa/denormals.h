// Flushes denormal numbers to zero while it lives: arithmetic on them is many times slower. The caller's
// setting comes back on exit.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
  #include <xmmintrin.h>
#endif

namespace fusedlstm::FUSEDLSTM_ISA {

#if defined(__x86_64__)

class FlushDenormals {
 public:
  FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | flush_results | flush_operands); }
  ~FlushDenormals() { _mm_setcsr(saved_); }
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  static constexpr unsigned flush_results = 0x8000;
  static constexpr unsigned flush_operands = 0x0040;
  unsigned saved_;
};

#elif defined(__aarch64__)

class FlushDenormals {
 public:
  FlushDenormals() {
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    asm volatile("msr fpcr, %0" : : "r"(saved_ | flush));
  }
  ~FlushDenormals() { asm volatile("msr fpcr, %0" : : "r"(saved_)); }
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  static constexpr std::uint64_t flush = std::uint64_t{1} << 24;
  std::uint64_t saved_;
};

#else

class FlushDenormals {
 public:
  FlushDenormals() {}
};

#endif

}  // namespace fusedlstm::FUSEDLSTM_ISA
