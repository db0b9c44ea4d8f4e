// Decoding the outputs of CTC models (Graves et al. 2006) on the team: labellings, and where their labels
// are.
#pragma once

#include <functional>

#include "beam_search.h"
#include "kernel_run.h"

namespace fusedlstm {

template <class T>
struct CtcOutputs {
  Sequence<const T> logits;  // (B,T,C)
  const Index* lengths;      // (B), or null: all steps are real
  Index batch;
  Index steps;
  Index classes;
  Index blank;

  Index length(Index b) const { return lengths != nullptr ? lengths[b] : steps; }
};

// P labellings of each row, best first; -1 fills up. Label k is in the steps from starts[k] to before ends[k]
// of the labelling's most probable path, of equal ones that with the earliest labels. A row with a step whose
// logits are no probabilities has none, and scores that are NaN; others that a row lacks have those of
// -infinity.
template <class T>
struct CtcPaths {
  Index count;           // P
  Index* labels;         // (P,B,T)
  Index* lengths;        // (P,B)
  Index* starts;         // (P,B,T)
  Index* ends;           // (P,B,T)
  T* scores;             // (B,P)
  T* log_probabilities;  // (B,P)
};

// The labelling of the most probable path, of classes that are equal the first; P = 1. Both scores are the
// path's log-probability. `merge`: labels that follow each other without a blank are one.
template <class T>
KernelRun run_ctc_greedy(const CtcOutputs<T>& outputs, bool merge, const CtcPaths<T>& paths);

// Prefix beam search. With settings.asks, `give_scores` gives them to all searches' waiting prefixes; it is
// called by the calling thread, may throw, and the call is not interruptible. Throws std::bad_alloc.
using GiveScores = std::function<void(std::span<BeamSearch>)>;
template <class T>
KernelRun run_ctc_beam_search(const CtcOutputs<T>& outputs, const BeamSettings& settings,
                              const CtcPaths<T>& paths, const GiveScores& give_scores = {});

}  // namespace fusedlstm
