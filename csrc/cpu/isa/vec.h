// The number type of the CPU kernels. Each instruction set's header defines Vec<float> and Vec<double>
// inside the namespace FUSEDLSTM_ISA with the same members, so that a kernel reads like its formula:
//
//   Vec(s)                        every lane = s            Vec::width, Vec::registers
//   load(p), load(p, n)           n < width: the lanes beyond n are zero and memory beyond n untouched
//   store(p), store(p, n)
//   load_part(row, j)                   the j-th vector of a panel's row; Vec<float> also widens BFloat16
//   rows,
//                                       which place_in_panel() interleaves
//   + - * /  fma(a, b, c)         a b + c, rounded once where the hardware can (scalar: twice)
//   min(a, b), max(a, b)          b where either is NaN
//   where_less(a, b, x, y)              x where a < b, y elsewhere and where either is NaN
//   abs(a), copysign(a, s), sqrt(a)
//   sum_of_lanes(a), max_of_lanes(a)    a number
//   keep_in_register(a)                 stops the compiler from loading `a` again at each use
//   exp2_from_shifted(t)          2^n for t = n + shift, where shift = 1.5 * 2^(mantissa bits) has put the
//                                 integer n into t's lowest bits
//   power_of(a)                         n for a positive normal number a with 2^n <= a < 2^(n+1)
//   store_low_halves(p)                 Vec<float>: the lower 16 bits of each lane
//   store_low_bytes(p)                  Vec<float>: the lowest 8 bits of each lane
//   from_integers(p)                    Vec<float>: 32-bit integers as numbers
//   Integers                            Vec<float>: 32-bit sums, to which add() adds pairs of products of
//   16-bit
//                                       numbers and 8-bit weights (width, 2), widened, or the even and odd
//                                       ones of weights (width, 4); total() converts them
//
// All of a kernel's code lives in that namespace and nothing from the standard library is instantiated
// in it: the linker keeps one copy of an inline function for the whole library, and it might keep the one
// compiled for an instruction set that this machine lacks.
#pragma once

#include <cstdint>

#include "../problem.h"

#if !defined(FUSEDLSTM_ISA) || !defined(FUSEDLSTM_VEC)
  #error "compile kernels through instruction_set() in sets.cmake, which names it"
#endif

namespace fusedlstm::FUSEDLSTM_ISA {

template <class T>
struct Vec;

// A count of lanes known to be the whole vector, so that full panels pay nothing for tails.
struct AllLanes {};

template <class T>
struct FloatFormat;

template <>
struct FloatFormat<float> {
  static constexpr int mantissa_bits = 23;
  static constexpr std::uint32_t one_bits = 0x3f800000U;
  static constexpr float shift = 0x1.8p23F;
  // The lowest bits of 2^23, as a number, hold a whole one; `whole` is to be taken off where it is the
  // exponent of a number, with its bias of 127.
  static constexpr std::uint32_t whole_bits = 0x4b000000U;
  static constexpr float whole = 0x1p23F + 127.0F;
};

template <>
struct FloatFormat<double> {
  static constexpr int mantissa_bits = 52;
  static constexpr std::uint64_t one_bits = 0x3ff0000000000000U;
  static constexpr double shift = 0x1.8p52;
  static constexpr std::uint64_t whole_bits = 0x4330000000000000U;
  static constexpr double whole = 0x1p52 + 1023.0;
};

// Two numbers of 16 bits, or four of 8, as one word, to be repeated in all lanes.
[[gnu::always_inline]] inline std::int32_t word_at(const void* p) {
  std::int32_t word;
  __builtin_memcpy(&word, p, sizeof word);
  return word;
}

[[gnu::always_inline]] inline Index smaller(Index a, Index b) { return a < b ? a : b; }
[[gnu::always_inline]] inline Index divide_up(Index a, Index b) { return (a + b - 1) / b; }

}  // namespace fusedlstm::FUSEDLSTM_ISA

#include FUSEDLSTM_VEC
