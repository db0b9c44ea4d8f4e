// The number type that the equations of cell.h are given on the device: the operations of
// cpu/isa/vec.h and cpu/isa/vec_math.h at width 1, on CUDA's own functions.
//
// Errors, in units in the last place, follow from those that CUDA documents for its functions (CUDA Math API,
// "Floating-Point Standard Compliance"; without --use_fast_math), where division is exact to half a unit:
//   sigmoid 3   tanh 2   exponential 1   expm1_of_negative 1   log1p_of_unit 1
// nvcc makes one operation of a multiply and an add where it likes, unless --fmad=false says not to: it must,
// so that vectors and single numbers get the same bits. Denormal numbers are kept.
//
// `brief` is for float whose results are rounded to 16 bits: sigmoid is made of hardware's own exponential
// and reciprocal, in four instructions without a branch instead of twenty and one. Its relative error is that
// of an exponential's rounded argument, 2^-23 (4 + |x|), below 2^-18 where sigmoid is a number of float16 at
// all.
#pragma once

#include "../inline.h"
#include "device.cuh"

namespace fusedlstm::cuda {

// Beyond these, exp would leave the normal numbers, where backward divides by sigmoid.
template <class T>
constexpr T exp_reach = sizeof(T) == sizeof(float) ? T(87) : T(708);

// The reciprocal of a number from 1 to 1 + exp(reach), which is a normal one. A division would look for the
// others first, and its branches keep the compiler from computing three gates at once. A step of Newton's
// leaves an error of less than a unit in the last place.
FUSEDLSTM_INLINE inline float reciprocal(float x) {
  const float y = reciprocal_approx(x);
  return ::fma(::fma(-x, y, 1.0f), y, y);
}
FUSEDLSTM_INLINE inline double reciprocal(double x) { return 1.0 / x; }

template <class T, bool brief = false>
struct Number {
  static_assert(!brief || sizeof(T) == sizeof(float));
  T v;

  Number() = default;
  FUSEDLSTM_INLINE explicit Number(T value) : v(value) {}

  FUSEDLSTM_INLINE friend Number operator+(Number a, Number b) { return Number(a.v + b.v); }
  FUSEDLSTM_INLINE friend Number operator-(Number a, Number b) { return Number(a.v - b.v); }
  FUSEDLSTM_INLINE friend Number operator*(Number a, Number b) { return Number(a.v * b.v); }
  FUSEDLSTM_INLINE friend Number operator/(Number a, Number b) { return Number(a.v / b.v); }
  FUSEDLSTM_INLINE friend Number fma(Number a, Number b, Number c) { return Number(::fma(a.v, b.v, c.v)); }
  FUSEDLSTM_INLINE friend Number abs(Number a) { return Number(::fabs(a.v)); }
  FUSEDLSTM_INLINE friend Number sqrt(Number a) { return Number(::sqrt(a.v)); }
  // b where either is NaN, unlike fmin and fmax, which would lose it.
  FUSEDLSTM_INLINE friend Number min(Number a, Number b) { return a.v < b.v ? a : b; }
  FUSEDLSTM_INLINE friend Number max(Number a, Number b) { return a.v > b.v ? a : b; }
  // x where a < b, y elsewhere and where either is NaN.
  FUSEDLSTM_INLINE friend Number where_less(Number a, Number b, Number x, Number y) {
    return a.v < b.v ? x : y;
  }

  // exp(x) between -reach and reach, where it saturates. NaN stays NaN.
  FUSEDLSTM_INLINE friend Number exponential(Number x) {
    const Number reach(exp_reach<T>);
    return Number(::exp(min(reach, max(Number(-reach.v), x)).v));
  }
  // Never zero, so that backward can divide by it; the brief one is, where exp(-x) is infinite.
  FUSEDLSTM_INLINE friend Number sigmoid(Number x) {
    if constexpr (brief) {
      return Number(reciprocal_approx(T(1) + exp2_approx(x.v * T(-1.44269504))));
    } else {
      return Number(reciprocal(T(1) + exponential(Number(-x.v)).v));
    }
  }
  FUSEDLSTM_INLINE friend Number tanh(Number x) { return Number(::tanh(x.v)); }
  // exp(x) - 1 for x <= 0.
  FUSEDLSTM_INLINE friend Number expm1_of_negative(Number x) { return Number(::expm1(x.v)); }
  // log(1 + u) for u in [0, 1].
  FUSEDLSTM_INLINE friend Number log1p_of_unit(Number u) { return Number(::log1p(u.v)); }
};

}  // namespace fusedlstm::cuda
