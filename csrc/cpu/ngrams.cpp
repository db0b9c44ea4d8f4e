#include "ngrams.h"

#include <algorithm>
#include <cstdint>
#include <new>
#include <numeric>

namespace fusedlstm {

NGrams::State NGrams::child(State state, int label) const {
  const Node& node = nodes_[static_cast<std::size_t>(state)];
  const auto begin = children_.begin() + node.first_child, end = children_.begin() + node.after_children;
  const auto place = std::lower_bound(begin, end, label, [&](State other, int wanted) {
    return nodes_[static_cast<std::size_t>(other)].label < wanted;
  });
  return place != end && nodes_[static_cast<std::size_t>(*place)].label == label ? *place : -1;
}

NGrams::Node& NGrams::node_of(const Index* labels, Index count) {
  State state = nothing;
  for (Index n = 0; n < count; ++n) {
    const int label = static_cast<int>(labels[n]);
    const auto [place, is_new] = found_.try_emplace({state, label}, static_cast<State>(nodes_.size()));
    if (is_new) {
      if (nodes_.size() > INT32_MAX) throw std::bad_alloc();
      Node node{};
      node.parent = state;
      node.label = label;
      node.length = static_cast<int>(n) + 1;
      nodes_.push_back(node);
    }
    state = place->second;
  }
  return nodes_[static_cast<std::size_t>(state)];
}

void NGrams::add_probability(const Index* labels, Index count, double log_probability) {
  Node& node = node_of(labels, count);
  node.log_probability = log_probability;
  node.probable = true;
}

void NGrams::add_backoff(const Index* labels, Index count, double log_weight) {
  node_of(labels, count).backoff = log_weight;
}

void NGrams::link() {
  for (const auto& [place, node] : found_) {
    Node& parent = nodes_[static_cast<std::size_t>(place.first)];
    const int n = static_cast<int>(children_.size());
    if (parent.after_children == 0) parent.first_child = n;
    parent.after_children = n + 1;
    children_.push_back(node);
  }
  found_.clear();
  // Shorter ones first, since after() goes by their links.
  std::vector<std::size_t> order(nodes_.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return nodes_[a].length < nodes_[b].length; });
  for (const std::size_t n : order) {
    Node& node = nodes_[n];
    if (node.length < 2) continue;
    node.shorter = after(nodes_[static_cast<std::size_t>(node.parent)].shorter, node.label);
  }
}

NGrams::State NGrams::after(State state, int label) const {
  for (;; state = nodes_[static_cast<std::size_t>(state)].shorter) {
    const State next = child(state, label);
    if (next >= 0) return next;
    if (state == nothing) return nothing;
  }
}

void NGrams::log_probabilities(State state, int classes, double* out) const {
  const Node& node = nodes_[static_cast<std::size_t>(state)];
  if (state == nothing) {
    std::fill(out, out + classes, unknown_);
  } else {
    log_probabilities(node.shorter, classes, out);
    for (int c = 0; c < classes; ++c) out[c] += node.backoff;
  }
  for (int n = node.first_child; n < node.after_children; ++n) {
    const Node& longer = nodes_[static_cast<std::size_t>(children_[static_cast<std::size_t>(n)])];
    if (longer.probable && longer.label < classes) out[longer.label] = longer.log_probability;
  }
}

bool NGrams::any_ends_with(int label) const {
  return std::any_of(nodes_.begin(), nodes_.end(),
                     [&](const Node& node) { return node.probable && node.label == label; });
}

}  // namespace fusedlstm
