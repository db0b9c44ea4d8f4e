// The CTC loss of a batch's rows, with its gradient.
#pragma once

#include "checked.h"
#include "problem.h"

namespace fusedlstm {

template <class T>
struct CtcProblem {
  Index steps;    // T
  Index classes;  // C
  Sequence<const T> logits;
  const Index* labels;  // rows of `most_labels`
  Index most_labels;
  const Index* label_lengths;  // (B)
  const Index* logit_lengths;  // (B)
  Index blank;
  const T* weights;  // (B) factors of the rows' gradients, or null for ones
  bool zero_infinity;
  T* losses;   // (B)
  T* dlogits;  // (B,T,C) or null
};

// A thread's memory for one row after the other, in elements, by the vector width. States lie in pieces of
// `stride` numbers, one more than the labels and a whole number of vectors, with a vector to spare.
struct CtcScratch {
  Index steps;   // of the longest row
  Index labels;  // the most of a row
  bool gradient;
  Index width;

  FUSEDLSTM_INLINE constexpr Index vectors() const { return labels / width + 1; }
  FUSEDLSTM_INLINE constexpr Index stride() const { return (vectors() + 1) * width; }
  // For each step: mantissas and exponents of y, for labels and the blank, and a shift of exponents.
  static constexpr Index of_step = 3;
  // Mantissas and exponents of labels' and blanks' states.
  static constexpr Index of_states = 4;
  // Steps' alphas, those before the first one included; without a gradient there are two in turns.
  FUSEDLSTM_INLINE constexpr Index alphas() const { return gradient ? steps + 1 : 2; }
  // All of it; beside the steps' z of the step behind, which labels repeat, logits and occupancies.
  constexpr CheckedSize size() const {
    const CheckedSize pieces = CheckedSize(alphas()) * of_states + CheckedSize(steps) * 2 + of_states + 3;
    return pieces * stride() + CheckedSize(steps) * of_step;
  }
};

}  // namespace fusedlstm
