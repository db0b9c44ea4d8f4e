// exp, sigmoid and tanh on Vec<T>. tests/kernels measures the errors stated here.
#pragma once

#include "vec.h"

namespace fusedlstm::FUSEDLSTM_ISA {

// expm1(r) = r + r^2 q(r) on |r| <= ln(2)/2, with q the minimax polynomial (Remez, weighted for the
// relative error of expm1), lowest power first. `reach` bounds arguments so that 2^n stays a normal number;
// `tanh_reach` is where expm1(-2|x|) has become -1.
template <class T>
struct ExpTraits;

template <>
struct ExpTraits<float> {
  static constexpr float ln2_high = 0x1.62e4p-1F;  // 15 bits: n * ln2_high is exact
  static constexpr float ln2_low = 0x1.7f7d1cp-20F;
  static constexpr float reach = 87.0F;
  static constexpr float tanh_reach = 20.0F;
  // Relative error of the polynomial: 2^-26.1.
  static constexpr float q[] = {0.499999984614F, 0.166665460189F, 0.041667121127F, 0.00836628957435F,
                                0.00138870474436F};
};

template <>
struct ExpTraits<double> {
  static constexpr double ln2_high = 0x1.62e42fefa38p-1;  // 42 bits
  static constexpr double ln2_low = 0x1.ef35793c7673p-45;
  static constexpr double reach = 708.0;
  static constexpr double tanh_reach = 40.0;
  // Relative error of the polynomial: 2^-55.5.
  static constexpr double q[] = {0.50000000000000043449,     0.16666666666666601001,
                                 0.04166666666658415991,     0.0083333333333827453229,
                                 0.001388888892960425151,    0.00019841269732323668158,
                                 0.000024801507282273795801, 2.7557396776469797194e-6,
                                 2.7625335662067783851e-7,   2.5056871054409596253e-8};
};

template <class V>
struct SplitExp {
  V shifted;  // n + shift
  V m;        // expm1(x - n ln 2)

  [[gnu::always_inline]] V scale() const { return exp2_from_shifted(shifted); }  // 2^n
  // exp(x), and exp(x) - 1.
  [[gnu::always_inline]] V exp() const { return fma(scale(), m, scale()); }
  [[gnu::always_inline]] V expm1() const { return fma(scale(), m, scale() - V(1)); }
};

// x = n ln 2 + r, |r| <= ln(2)/2; the caller has bounded x.
template <class T>
[[gnu::always_inline]] inline SplitExp<Vec<T>> split_exp(Vec<T> x) {
  using V = Vec<T>;
  using E = ExpTraits<T>;
  const V shifted = fma(x, V(T(1.4426950408889634074)), V(FloatFormat<T>::shift));
  const V n = shifted - V(FloatFormat<T>::shift);
  const V r = fma(n, V(-E::ln2_low), fma(n, V(-E::ln2_high), x));
  constexpr int degree = sizeof(E::q) / sizeof(T) - 1;
  V q(E::q[degree]);
  for (int j = degree - 1; j >= 0; --j) q = fma(q, r, V(E::q[j]));
  return {shifted, fma(r * r, q, r)};
}

// 2^n for whole numbers n for which it is a normal one.
template <class T>
[[gnu::always_inline]] inline Vec<T> exp2_of_whole(Vec<T> n) {
  return exp2_from_shifted(n + Vec<T>(FloatFormat<T>::shift));
}

// 1 / (1 + exp(-x)): at most 2.5 ulp; saturates at 1 and, below -reach, at exp(-reach). NaN stays NaN.
template <class T>
[[gnu::always_inline]] inline Vec<T> sigmoid(Vec<T> x) {
  using V = Vec<T>;
  const V reach(ExpTraits<T>::reach);
  const V negated = min(reach, max(V(0) - reach, V(0) - x));
  return V(1) / (V(1) + split_exp(negated).exp());
}

// With m = expm1(-2|x|), |tanh(x)| = -m / (2 + m): at most 3 ulp everywhere, odd, exact at 0.
template <class T>
[[gnu::always_inline]] inline Vec<T> tanh(Vec<T> x) {
  using V = Vec<T>;
  const V a = min(V(ExpTraits<T>::tanh_reach), abs(x));
  const V m = split_exp(V(-2) * a).expm1();
  return copysign(m / (V(2) + m), x);
}

// exp(x): at most 2.5 ulp between -reach and reach, where it saturates. NaN stays NaN.
template <class T>
[[gnu::always_inline]] inline Vec<T> exponential(Vec<T> x) {
  using V = Vec<T>;
  const V reach(ExpTraits<T>::reach);
  return split_exp(min(reach, max(V(0) - reach, x))).exp();
}

// exp(x) - 1 for x <= 0: at most 2 ulp.
template <class T>
[[gnu::always_inline]] inline Vec<T> expm1_of_negative(Vec<T> x) {
  return split_exp(max(Vec<T>(T(-2) * ExpTraits<T>::tanh_reach), x)).expm1();
}

// log(1 + u) for u in [0, 1]: with s = u / (2 + u), it is 2 atanh(s) = 2 s (1 + s^2/3 + s^4/5 + ...), and
// s^2 <= 1/9. At most 3 ulp.
template <class T>
[[gnu::always_inline]] inline Vec<T> log1p_of_unit(Vec<T> u) {
  using V = Vec<T>;
  constexpr int terms = sizeof(T) == sizeof(float) ? 8 : 17;
  const V s = u / (V(2) + u);
  const V square = s * s;
  V sum(T(1) / T(2 * terms - 1));
  for (int n = terms - 2; n >= 0; --n) sum = fma(sum, square, V(T(1) / T(2 * n + 1)));
  return V(2) * s * sum;
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
