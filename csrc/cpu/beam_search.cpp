#include "beam_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>

namespace fusedlstm {
namespace {

constexpr double impossible = -std::numeric_limits<double>::infinity();

double log_add(double a, double b) {
  if (a < b) std::swap(a, b);
  return b == impossible ? a : a + std::log1p(std::exp(b - a));
}

}  // namespace

double* BeamSearch::scores_of(const Beam& b) {
  return scores_.data() + static_cast<Index>(b.slot) * settings_.classes;
}

const double* BeamSearch::scores_of(const Beam& b) const {
  return scores_.data() + static_cast<Index>(b.slot) * settings_.classes;
}

BeamSearch::Place BeamSearch::before_last(Place place) const {
  return place.label >= 0 ? Place{place.prefix, -1} : Place{prefix(place.prefix).parent, -1};
}

bool BeamSearch::lexicographically_less(Place a, Place b) const {
  const auto length = [&](Place p) { return prefix(p.prefix).length + (p.label >= 0 ? 1 : 0); };
  const auto last = [&](Place p) { return p.label >= 0 ? p.label : prefix(p.prefix).label; };
  const int a_length = length(a), b_length = length(b);
  for (int n = a_length; n > b_length; --n) a = before_last(a);
  for (int n = b_length; n > a_length; --n) b = before_last(b);
  if (a == b) return a_length < b_length;
  for (;;) {
    const Place a_before = before_last(a), b_before = before_last(b);
    if (a_before == b_before) return last(a) < last(b);
    a = a_before;
    b = b_before;
  }
}

bool BeamSearch::better(const Candidate& a, const Candidate& b) const {
  if (a.rank() != b.rank()) return a.rank() > b.rank();
  return lexicographically_less({beam(a.beam).prefix, a.label}, {beam(b.beam).prefix, b.label});
}

void BeamSearch::begin() {
  prefixes_.assign(1, {.parent = -1, .label = -1, .length = 0});
  const NGrams* ngrams = settings_.ngrams;
  const NGrams::State state = ngrams != nullptr ? ngrams->after(NGrams::nothing, settings_.blank) : 0;
  beams_.assign(1, {.prefix = 0,
                    .blank = 0.0,
                    .label = impossible,
                    .total = 0.0,
                    .bonus = 0.0,
                    .state = state,
                    .slot = -1});
  barred_.assign(static_cast<std::size_t>(settings_.classes), -1);
  scores_.clear();
  free_slots_.clear();
  waiting_.clear();
  prefixes_[0].beam = 0;
  welcome(0);
}

void BeamSearch::advance(const double* log_probabilities) {
  order_classes(log_probabilities);
  link_beams();
  candidates_.clear();
  const int count = static_cast<int>(beams_.size());
  for (int n = 0; n < count; ++n) offer_staying(n, log_probabilities);
  for (int n = 0; n < count; ++n) offer_longer(n, log_probabilities);
  std::sort_heap(candidates_.begin(), candidates_.end(),
                 [&](const Candidate& a, const Candidate& b) { return better(a, b); });
  go_on();
}

void BeamSearch::order_classes(const double* log_probabilities) {
  classes_.clear();
  for (int c = 0; c < settings_.classes; ++c) {
    const bool begins = log_probabilities[c] >= settings_.least && log_probabilities[c] > impossible;
    if (c != settings_.blank && begins) classes_.push_back(c);
  }
  const auto before = [&](int a, int b) {
    const double first = log_probabilities[a], second = log_probabilities[b];
    return first != second ? first > second : a < b;
  };
  // Without scores each beam goes on with the most probable ones, at most one for each beam to come, past
  // those that are beams already and its last label.
  const Index most = 2 * std::min(settings_.width, static_cast<Index>(settings_.classes)) + 1;
  if (!scored() && most < static_cast<Index>(classes_.size())) {
    std::nth_element(classes_.begin(), classes_.begin() + most, classes_.end(), before);
    classes_.resize(static_cast<std::size_t>(most));
  }
  std::sort(classes_.begin(), classes_.end(), before);
}

void BeamSearch::link_beams() {
  for (Beam& b : beams_) b.first_child = b.next_sibling = -1;
  for (int n = 0; n < static_cast<int>(beams_.size()); ++n) {
    const int parent = prefix(beam(n).prefix).parent;
    const int above = parent >= 0 ? prefix(parent).beam : -1;
    if (above < 0) continue;
    beam(n).next_sibling = beam(above).first_child;
    beam(above).first_child = n;
  }
  std::fill(barred_.begin(), barred_.end(), -1);
}

void BeamSearch::offer(const Candidate& candidate) {
  if (!(candidate.rank() > impossible)) return;
  const auto compare = [&](const Candidate& a, const Candidate& b) { return better(a, b); };
  if (static_cast<Index>(candidates_.size()) == settings_.width) {
    if (!better(candidate, candidates_.front())) return;
    std::pop_heap(candidates_.begin(), candidates_.end(), compare);
    candidates_.back() = candidate;
  } else {
    candidates_.push_back(candidate);
  }
  std::push_heap(candidates_.begin(), candidates_.end(), compare);
}

// By a blank, by its last label again, or from the prefix before, by that label.
void BeamSearch::offer_staying(int n, const double* log_probabilities) {
  const Beam& b = beam(n);
  const Prefix& p = prefix(b.prefix);
  const double in_blank = b.total + log_probabilities[settings_.blank];
  double in_label = impossible;
  if (p.label >= 0) {
    const double probability = log_probabilities[p.label];
    in_label = b.label + probability;
    const int above = prefix(p.parent).beam;
    if (above >= 0 && probability >= settings_.least) {
      const bool again = prefix(p.parent).label == p.label;
      in_label = log_add(in_label, (again ? beam(above).blank : beam(above).total) + probability);
    }
  }
  offer({n, -1, in_blank, in_label, log_add(in_blank, in_label), b.bonus});
}

void BeamSearch::offer_longer(int n, const double* log_probabilities) {
  const Beam& b = beam(n);
  const int last = prefix(b.prefix).label;
  for (int child = b.first_child; child >= 0; child = beam(child).next_sibling) {
    barred_[static_cast<std::size_t>(prefix(beam(child).prefix).label)] = n;
  }
  const double* scores = scored() ? scores_of(b) : nullptr;
  for (const int c : classes_) {
    const double bonus = b.bonus + (scores != nullptr ? settings_.alpha * scores[c] : 0.0) + settings_.beta;
    // No label after this one is more probable, nor one that repeats the last.
    const bool full = static_cast<Index>(candidates_.size()) == settings_.width;
    if (scores == nullptr && full && b.total + log_probabilities[c] + bonus < candidates_.front().rank()) {
      break;
    }
    if (barred_[static_cast<std::size_t>(c)] == n) continue;
    const double total = (c == last ? b.blank : b.total) + log_probabilities[c];
    offer({n, c, impossible, total, total, bonus});
  }
}

int BeamSearch::child_of(int parent, int label) {
  int child = prefix(parent).first_child;
  while (child >= 0 && prefix(child).label != label) child = prefix(child).next_sibling;
  if (child >= 0) return child;
  if (prefixes_.size() >= static_cast<std::size_t>(std::numeric_limits<int>::max())) throw std::bad_alloc();
  child = static_cast<int>(prefixes_.size());
  Prefix& above = prefixes_[static_cast<std::size_t>(parent)];
  const Prefix longer{
      .parent = parent, .label = label, .length = above.length + 1, .next_sibling = above.first_child};
  above.first_child = child;
  prefixes_.push_back(longer);
  return child;
}

void BeamSearch::go_on() {
  next_.clear();
  for (const Candidate& c : candidates_) {
    Beam& from = beam(c.beam);
    Beam to = from;
    if (c.label < 0) {
      from.stays = true;
    } else {
      to.prefix = child_of(from.prefix, c.label);
      to.slot = -1;
      if (settings_.ngrams != nullptr) to.state = settings_.ngrams->after(from.state, c.label);
    }
    to.blank = c.in_blank;
    to.label = c.in_label;
    to.total = c.total;
    to.bonus = c.bonus;
    next_.push_back(to);
  }
  for (const Beam& b : beams_) {
    prefixes_[static_cast<std::size_t>(b.prefix)].beam = -1;
    if (!b.stays && b.slot >= 0) free_slots_.push_back(b.slot);
  }
  std::swap(beams_, next_);
  for (int n = 0; n < static_cast<int>(beams_.size()); ++n) {
    beam(n).stays = false;
    prefixes_[static_cast<std::size_t>(beam(n).prefix)].beam = n;
    if (beam(n).slot < 0) welcome(n);
  }
}

// Scores for what follows a prefix that is new among the beams.
void BeamSearch::welcome(int n) {
  if (!scored()) return;
  Beam& b = beam(n);
  const auto classes = static_cast<std::size_t>(settings_.classes);
  if (free_slots_.empty()) {
    b.slot = static_cast<int>(scores_.size() / classes);
    scores_.resize(scores_.size() + classes);
  } else {
    b.slot = free_slots_.back();
    free_slots_.pop_back();
  }
  if (settings_.asks) {
    waiting_.push_back(n);
    return;
  }
  settings_.ngrams->log_probabilities(b.state, settings_.classes, scores_of(b));
}

std::vector<int> BeamSearch::labels_of(int n) const {
  int place = beam(n).prefix;
  std::vector<int> labels(static_cast<std::size_t>(prefix(place).length));
  for (auto label = labels.rbegin(); label != labels.rend(); ++label) {
    *label = prefix(place).label;
    place = prefix(place).parent;
  }
  return labels;
}

void BeamSearch::give_scores(int n, const double* scores) {
  std::copy_n(scores, settings_.classes, scores_of(beam(n)));
}

std::vector<Labelling> BeamSearch::best(std::size_t most) const {
  const NGrams* ngrams = settings_.ngrams;
  const bool ends = settings_.asks || (ngrams != nullptr && ngrams->any_ends_with(settings_.blank));
  std::vector<Candidate> last;
  for (int n = 0; n < static_cast<int>(beams_.size()); ++n) {
    const Beam& b = beam(n);
    const double end = ends ? settings_.alpha * scores_of(b)[settings_.blank] : 0.0;
    const Candidate candidate{n, -1, b.blank, b.label, b.total, b.bonus + end};
    if (candidate.rank() > impossible) last.push_back(candidate);
  }
  std::sort(last.begin(), last.end(), [&](const Candidate& a, const Candidate& b) { return better(a, b); });
  std::vector<Labelling> found;
  for (const Candidate& c : last) {
    if (found.size() == most) break;
    found.push_back({labels_of(c.beam), c.rank(), c.total});
  }
  return found;
}

}  // namespace fusedlstm
