// Connectionist temporal classification (Graves et al. 2006), written once on any number type `V` with the
// operations of cpu/isa/vec.h: a SIMD vector, or a plain number.
//
// The labels l[0] ... l[L-1] of a row are read with blanks around them, b[0] l[0] b[1] ... l[L-1] b[L]. With
// y the softmax of a step's logits, alpha(s) is the probability of all paths that end in the state s, that
// step's y included:
//
//   alpha(b[j]) = y(blank) (alpha(b[j]) + alpha(l[j-1]))
//   alpha(l[j]) = y(l[j]) (alpha(l[j]) + alpha(b[j]) + alpha(l[j-1])), the last where l[j] and l[j-1] differ
//
// from alpha(b[0]) = 1 before the first step, all others 0. The row's probability P is alpha(b[L]) +
// alpha(l[L-1]) after the last one; its loss is -log P. beta(s) is the probability of the rest of the path,
// that step's y left out: with z = y beta of the next step,
//
//   beta(b[j]) = z(b[j]) + z(l[j])
//   beta(l[j]) = z(l[j]) + z(b[j+1]) + z(l[j+1]), the last where l[j] and l[j+1] differ
//
// from z(b[L]) = 1 after the last step. These are the equations of alpha for the row read backwards, each
// label beside the blank behind it instead of the one before it: `reach` serves both. A logit's gradient is
//
//   dx(k) = y(k) - (sum over states s of the class k: alpha(s) beta(s)) / P
#pragma once

#include "../inline.h"
#include "../lstm.h"

namespace fusedlstm {

// The number m 2^e, e a whole number or, for zero, minus infinity. States of one step differ by more than
// any format's exponents hold, and the least of them may lead to the only paths there are. Sums and products
// leave m between 2^-1 and 2^3 times what it was, so that it is normalized only now and then.
template <class V>
struct Scaled {
  V m;
  V e;

  FUSEDLSTM_INLINE Scaled(V mantissa, V exponent) : m(mantissa), e(exponent) {}
  // Copied as a block of memory, GCC would take it out of its registers.
  FUSEDLSTM_INLINE Scaled(const Scaled& other) : m(other.m), e(other.e) {}
  FUSEDLSTM_INLINE Scaled& operator=(const Scaled& other) {
    m = other.m;
    e = other.e;
    return *this;
  }
};

// exp2_of_whole(n) is 2^n for n from -least_power to 0.
inline constexpr int least_power = 126;

template <class V>
FUSEDLSTM_INLINE inline Scaled<V> operator+(const Scaled<V>& a, const Scaled<V>& b) {
  const V d = a.e - b.e;
  // The difference of two zeros is NaN, for which max() gives its second operand.
  const V power = exp2_of_whole(max(V(0) - abs(d), V(-least_power)));
  const V larger = where_less(d, V(0), b.m, a.m);
  const V smaller = where_less(d, V(0), a.m, b.m);
  return {fma(smaller, power, larger), max(a.e, b.e)};
}

template <class V>
FUSEDLSTM_INLINE inline Scaled<V> operator*(const Scaled<V>& a, const Scaled<V>& b) {
  return {a.m * b.m, a.e + b.e};
}

// A logit so far below the largest of its step is a class of probability zero.
inline constexpr int farthest_logit = 1 << 18;

// Sums that reach a pair of states, a blank and a label, from the step before, or behind.
template <class V>
struct Reached {
  Scaled<V> blank;
  Scaled<V> label;
};

// `next` is the label on the other side of the blank, `same` positive where it is equal to this one.
template <class V>
FUSEDLSTM_INLINE inline Reached<V> reach(const Scaled<V>& blank, const Scaled<V>& label,
                                         const Scaled<V>& next, V same) {
  const Scaled<V> both = blank + next;
  const Scaled<V> others{where_less(V(0), same, blank.m, both.m), where_less(V(0), same, blank.e, both.e)};
  return {both, label + others};
}

// The steps that a row of labels needs: one for each, and one for a blank between equal ones.
FUSEDLSTM_INLINE inline Index least_steps(const Index* labels, Index count) {
  Index steps = count;
  for (Index j = 1; j < count; ++j) steps += labels[j] == labels[j - 1] ? 1 : 0;
  return steps;
}

}  // namespace fusedlstm
