#include "edit_distance.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "memory_watch.h"
#include "parallel.h"

namespace fusedlstm {
namespace {

using Symbols = std::span<const Index>;

Symbols sequence(const SequenceList& list, Index n) {
  return {list.symbols + list.offsets[n], static_cast<std::size_t>(list.offsets[n + 1] - list.offsets[n])};
}

// 64 rows of the table of distances at a time, as bits of their differences (Myers 1999; Hyyrö 2003). Its
// rows are the reference's prefixes, its columns the hypothesis's.
class Distances {
 public:
  Index between(Symbols reference, Symbols hypothesis, Worker& worker) {
    known_.assign(reference.begin(), reference.end());
    std::sort(known_.begin(), known_.end());
    known_.erase(std::unique(known_.begin(), known_.end()), known_.end());
    columns_.clear();
    for (const Index symbol : hypothesis) columns_.push_back(number_of(symbol));
    // The first row's differences: the distances from nothing are the prefixes' lengths.
    differences_.assign(hypothesis.size(), 1);
    places_.assign(known_.size() + 1, 0);
    for (std::size_t first = 0; first < reference.size(); first += 64) {
      const Symbols rows = reference.subspan(first, std::min<std::size_t>(64, reference.size() - first));
      for (std::size_t r = 0; r < rows.size(); ++r) places_[number_of(rows[r])] |= std::uint64_t{1} << r;
      go_through(rows.size());
      for (const Index symbol : rows) places_[number_of(symbol)] = 0;
      if (worker.stopped(16 * static_cast<Index>(hypothesis.size() + 64))) return 0;
    }
    return std::accumulate(differences_.begin(), differences_.end(), static_cast<Index>(reference.size()));
  }

 private:
  // That of a symbol among the reference's, or one more than there are.
  std::size_t number_of(Index symbol) const {
    const auto place = std::lower_bound(known_.begin(), known_.end(), symbol);
    const bool found = place != known_.end() && *place == symbol;
    return found ? static_cast<std::size_t>(place - known_.begin()) : known_.size();
  }

  // From the differences along the row above to those along the last of these rows.
  void go_through(std::size_t rows) {
    const std::uint64_t last = std::uint64_t{1} << (rows - 1);
    std::uint64_t more = ~std::uint64_t{0}, less = 0;  // where a row's distance is one off the row's above
    for (std::size_t n = 0; n < columns_.size(); ++n) {
      const signed char above = differences_[n];
      std::uint64_t equal = places_[columns_[n]];
      const std::uint64_t vertical = equal | less;
      if (above < 0) equal |= 1;
      const std::uint64_t horizontal = (((equal & more) + more) ^ more) | equal;
      std::uint64_t right_more = less | ~(horizontal | more);
      std::uint64_t right_less = more & horizontal;
      differences_[n] = static_cast<signed char>(((right_more & last) != 0) - ((right_less & last) != 0));
      right_more = right_more << 1 | static_cast<std::uint64_t>(above > 0);
      right_less = right_less << 1 | static_cast<std::uint64_t>(above < 0);
      more = right_less | ~(vertical | right_more);
      less = right_more & vertical;
    }
  }

  std::vector<Index> known_;              // the reference's symbols, sorted
  std::vector<std::size_t> columns_;      // numbers of the hypothesis's
  std::vector<signed char> differences_;  // of neighbouring columns
  std::vector<std::uint64_t> places_;     // by number: rows with that symbol
};

}  // namespace

void run_edit_distances(const SequenceList& references, const SequenceList& hypotheses, Index count,
                        Index* distances) {
  MemoryWatch watch;
  const Index cost = (references.offsets[count] + hypotheses.offsets[count]) / std::max<Index>(count, 1);
  parallel_shares(count, elementwise_grain / (4 * cost + 1) + 1, [&](Range range, Worker& worker) {
    watch.run([&] {
      Distances table;
      for (Index n = range.begin; n < range.end; ++n) {
        distances[n] = table.between(sequence(references, n), sequence(hypotheses, n), worker);
      }
    });
  });
  watch.check();
}

}  // namespace fusedlstm
