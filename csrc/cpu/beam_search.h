// Prefix beam search through the outputs of a CTC model (Hannun et al. 2014), one sequence at a time.
//
// A prefix is a labelling of the steps so far. Its paths end in a blank or in its last label, whose
// probabilities are apart, since a label that follows itself is a new one after a blank only. Prefixes are
// the nodes of a tree, so that paths to the same one meet.
#pragma once

#include <span>
#include <vector>

#include "ngrams.h"

namespace fusedlstm {

struct BeamSettings {
  Index width = 1;  // prefixes that go on from a step to the next
  int classes = 0;
  int blank = 0;
  double least = 0.0;  // labels of a smaller log-probability don't begin at a step
  // A prefix ranks by log P(prefix) + alpha (sum of its labels' scores) + beta (number of its labels).
  double alpha = 0.0;
  double beta = 0.0;
  const NGrams* ngrams = nullptr;
  bool asks = false;  // scores come from outside, through give_scores()
};

// A labelling, and what it ranks by.
struct Labelling {
  std::vector<int> labels;
  double score;
  double log_probability;
};

class BeamSearch {
 public:
  explicit BeamSearch(const BeamSettings& settings) : settings_(settings) {}

  // Before the first step.
  void begin();
  // A step; by classes.
  void advance(const double* log_probabilities);

  // Prefixes, by number, that need scores before the next step or best(), where settings.asks.
  std::span<const int> waiting() const { return waiting_; }
  std::vector<int> labels_of(int beam) const;
  // By classes: how probable each label is as the next one, and in the blank's place the end.
  void give_scores(int beam, const double* scores);
  void all_scored() { waiting_.clear(); }

  // The best ones, which may be fewer. Of equal ones the first in lexicographic order.
  std::vector<Labelling> best(std::size_t most) const;

 private:
  struct Prefix {
    int parent;
    int label;
    int length;
    int first_child = -1;
    int next_sibling = -1;
    int beam = -1;  // that it has in this step
  };
  struct Beam {
    int prefix;
    double blank;  // log-probability of the paths that end in a blank,
    double label;  // in the last label,
    double total;  // and in either
    double bonus;  // of the prefix, by its scores
    NGrams::State state;
    int slot;              // where scores of the next label are, or -1
    int first_child = -1;  // beams whose prefixes have one label more
    int next_sibling = -1;
    bool stays = false;
  };
  // A beam that stays, or becomes one with a label more.
  struct Candidate {
    int beam;
    int label;  // or -1
    double in_blank;
    double in_label;
    double total;
    double bonus;
    double rank() const { return total + bonus; }
  };
  // A prefix, and a label more if that is not -1.
  struct Place {
    int prefix;
    int label;
    friend bool operator==(const Place&, const Place&) = default;
  };

  bool scored() const { return settings_.asks || settings_.ngrams != nullptr; }
  const Prefix& prefix(int n) const { return prefixes_[static_cast<std::size_t>(n)]; }
  Beam& beam(int n) { return beams_[static_cast<std::size_t>(n)]; }
  const Beam& beam(int n) const { return beams_[static_cast<std::size_t>(n)]; }
  double* scores_of(const Beam& b);
  const double* scores_of(const Beam& b) const;

  Place before_last(Place place) const;
  bool lexicographically_less(Place a, Place b) const;
  bool better(const Candidate& a, const Candidate& b) const;

  void order_classes(const double* log_probabilities);
  void link_beams();
  void offer(const Candidate& candidate);
  void offer_staying(int n, const double* log_probabilities);
  void offer_longer(int n, const double* log_probabilities);
  int child_of(int parent, int label);
  void go_on();
  void welcome(int n);

  BeamSettings settings_;
  std::vector<Prefix> prefixes_;
  std::vector<Beam> beams_;  // best first
  std::vector<Beam> next_;
  std::vector<Candidate> candidates_;  // a heap, the worst on top
  std::vector<int> classes_;           // labels that may begin, the most probable first
  std::vector<int> barred_;            // by label: the last beam that may not go on with it
  std::vector<double> scores_;         // (slots, classes)
  std::vector<int> free_slots_;
  std::vector<int> waiting_;
};

}  // namespace fusedlstm
