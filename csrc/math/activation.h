// The activations that a cell may have instead of sigmoid and tanh, on any number type `V` with the
// operations of cpu/isa/vec.h and cpu/isa/vec_math.h, or of cuda/number.cuh. Slopes and what follows them are
// functions of the activation's value, so that nothing but values needs to be kept for backward.
#pragma once

#include <cstdint>

#include "../inline.h"

namespace fusedlstm {

enum class ActivationKind : std::int32_t {
  tanh,
  sigmoid,
  hard_sigmoid,  // alpha x + beta within [0, 1]
  relu,          // x where positive, alpha x elsewhere
  elu,           // x where positive, alpha (exp(x) - 1) elsewhere; alpha > 0
  softsign,      // x / (1 + |x|)
  softplus,      // log(1 + exp(x))
  linear,        // alpha x + beta
  exponential,
  scaled_tanh,       // alpha tanh(beta x); alpha not 0
  thresholded_relu,  // 0 where below alpha, x elsewhere; alpha >= 0
};

template <class T>
struct Activation {
  ActivationKind kind;
  T alpha;
  T beta;
};

template <class V, class T>
FUSEDLSTM_INLINE inline V apply(const Activation<T>& f, V x) {
  const V alpha(f.alpha);
  switch (f.kind) {
    case ActivationKind::tanh:
      return tanh(x);
    case ActivationKind::sigmoid:
      return sigmoid(x);
    case ActivationKind::hard_sigmoid:
      return min(V(1), max(V(0), fma(alpha, x, V(f.beta))));
    case ActivationKind::relu:
      return f.alpha == T(0) ? max(V(0), x) : where_less(V(0), x, x, alpha * x);
    case ActivationKind::elu:
      return where_less(V(0), x, x, alpha * expm1_of_negative(min(V(0), x)));
    case ActivationKind::softsign: {
      // Beyond 2^64 the quotient is 1, and infinity over infinity would not be.
      const V bounded = min(V(T(0x1p64)), max(V(T(-0x1p64)), x));
      return bounded / (V(1) + abs(bounded));
    }
    case ActivationKind::softplus:
      return max(V(0), x) + log1p_of_unit(V(1) + expm1_of_negative(V(0) - abs(x)));
    case ActivationKind::linear:
      return fma(alpha, x, V(f.beta));
    case ActivationKind::scaled_tanh:
      return alpha * tanh(V(f.beta) * x);
    case ActivationKind::thresholded_relu:
      return where_less(x, alpha, V(0), x);
    case ActivationKind::exponential:
      break;
  }
  return exponential(x);
}

// The derivative where the activation's value is y.
template <class V, class T>
FUSEDLSTM_INLINE inline V slope(const Activation<T>& f, V y) {
  const V zero(0);
  const V one(1);
  const V alpha(f.alpha);
  switch (f.kind) {
    case ActivationKind::tanh:
      return one - y * y;
    case ActivationKind::sigmoid:
      return y * (one - y);
    case ActivationKind::hard_sigmoid:
      return where_less(zero, y, where_less(y, one, alpha, zero), zero);
    case ActivationKind::relu:
      return where_less(zero, y, one, alpha);
    case ActivationKind::elu:
      return where_less(zero, y, one, y + alpha);
    case ActivationKind::softsign: {
      const V rest = one - abs(y);
      return rest * rest;
    }
    case ActivationKind::softplus:
      return zero - expm1_of_negative(zero - y);
    case ActivationKind::linear:
      return alpha;
    case ActivationKind::scaled_tanh:
      return V(f.beta) * (alpha - y * y / alpha);
    case ActivationKind::thresholded_relu:
      return where_less(zero, y, one, zero);
    case ActivationKind::exponential:
      break;
  }
  return y;
}

// The second derivative over the first where the activation's value is y, for tangents of slopes: along
// x_dot, the slope moves by curve(y) y_dot. Where slopes jump it is that of a side.
template <class V, class T>
FUSEDLSTM_INLINE inline V curve(const Activation<T>& f, V y) {
  const V zero(0);
  const V one(1);
  switch (f.kind) {
    case ActivationKind::tanh:
      return V(-2) * y;
    case ActivationKind::sigmoid:
      return one - (y + y);
    case ActivationKind::elu:
      return where_less(zero, y, zero, one);
    case ActivationKind::softsign:
      return copysign(V(2), zero - y) * (one - abs(y));
    case ActivationKind::softplus:
      return one + expm1_of_negative(zero - y);
    case ActivationKind::scaled_tanh:
      return V(-2) * V(f.beta) * y / V(f.alpha);
    case ActivationKind::exponential:
      return one;
    case ActivationKind::hard_sigmoid:
    case ActivationKind::relu:
    case ActivationKind::thresholded_relu:
    case ActivationKind::linear:
      break;
  }
  return zero;
}

}  // namespace fusedlstm
