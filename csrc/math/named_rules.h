// The updates' rules by their names.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "updates.h"

namespace fusedlstm {

// Calls body(rule) with the rule of this name, made of the settings and of numbers of its own.
template <class T, class Body>
void with_rule(const std::string& name, const UpdateSettings& settings, const std::vector<double>& numbers,
               const Body& body) {
  const auto matches = [&]<class Rule>(const Rule*) {
    if (name != Rule::name || numbers.size() != Rule::numbers) return false;
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      body(Rule(settings, numbers[I]...));
    }(std::make_index_sequence<Rule::numbers>{});
    return true;
  };
  const bool found = [&]<class... Rules>(const RuleList<Rules...>&) {
    return (matches(static_cast<const Rules*>(nullptr)) || ...);
  }(UpdateRules<T>{});
  if (!found) throw std::invalid_argument("rule: expected the name of one, with its numbers, got " + name);
}

}  // namespace fusedlstm
