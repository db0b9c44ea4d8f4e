// Edit distances of sequences of whole numbers, on the team.
#pragma once

#include "../lstm.h"

namespace fusedlstm {

// Sequences one after another: n lies from offsets[n] to offsets[n + 1].
struct SequenceList {
  const Index* symbols;
  const Index* offsets;
};

// distances (count): the fewest insertions, deletions and substitutions that make a hypothesis of a reference
// (Levenshtein 1966). Throws std::bad_alloc.
void run_edit_distances(const SequenceList& references, const SequenceList& hypotheses, Index count,
                        Index* distances);

}  // namespace fusedlstm
