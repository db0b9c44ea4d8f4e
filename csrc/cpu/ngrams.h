// N-grams of labels with backoff (Katz 1987): how probable the next label is after a sequence of labels.
#pragma once

#include <map>
#include <utility>
#include <vector>

#include "../lstm.h"

namespace fusedlstm {

// A tree of n-grams. A state is the node of the longest end of a sequence that the tree has.
class NGrams {
 public:
  using State = int;

  explicit NGrams(double unknown) : unknown_(unknown), nodes_(1) {}

  // Labels are below 2^31.
  void add_probability(const Index* labels, Index count, double log_probability);
  void add_backoff(const Index* labels, Index count, double log_weight);
  // After all additions, before all questions.
  void link();

  static constexpr State nothing = 0;
  State after(State state, int label) const;
  // log P(label | state) of all labels below `classes`: an n-gram's, or the backoff weight of the state and
  // what a shorter one says.
  void log_probabilities(State state, int classes, double* out) const;
  // True if an n-gram ends so.
  bool any_ends_with(int label) const;

 private:
  struct Node {
    double log_probability;
    double backoff = 0.0;
    State shorter = nothing;  // the state of the labels without the first
    int parent = 0;
    int label = -1;
    int length = 0;
    int first_child = 0;  // in children_
    int after_children = 0;
    bool probable = false;  // an n-gram of the table, not only the beginning of one
  };

  // Or -1.
  State child(State state, int label) const;
  Node& node_of(const Index* labels, Index count);

  double unknown_;
  std::vector<Node> nodes_;
  std::map<std::pair<State, int>, State> found_;  // by parent and label, until they are linked
  std::vector<State> children_;                   // of one node after another, by label
};

}  // namespace fusedlstm
