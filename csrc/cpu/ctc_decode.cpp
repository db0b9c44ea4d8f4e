#include "ctc_decode.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "dispatch.h"
#include "memory_watch.h"
#include "parallel.h"

namespace fusedlstm {
namespace {

constexpr double impossible = -std::numeric_limits<double>::infinity();
constexpr double none = std::numeric_limits<double>::quiet_NaN();

// log(sum of exp(x)): NaN, or infinite, unless the softmax of x is probabilities.
template <class T>
double log_sum(const T* x, Index classes) {
  const double largest = *std::max_element(x, x + classes);
  double sum = 0.0;
  for (Index c = 0; c < classes; ++c) sum += std::exp(static_cast<double>(x[c]) - largest);
  return largest + std::log(sum);
}

// One labelling's place in the results. Of no labels to begin with.
template <class T>
class Path {
 public:
  Path(const CtcOutputs<T>& outputs, const CtcPaths<T>& paths, Index b, Index p, double score,
       double log_probability)
      : steps_(outputs.steps),
        length_(paths.lengths + p * outputs.batch + b),
        labels_(paths.labels + (p * outputs.batch + b) * steps_),
        starts_(paths.starts + (p * outputs.batch + b) * steps_),
        ends_(paths.ends + (p * outputs.batch + b) * steps_) {
    paths.scores[b * paths.count + p] = static_cast<T>(score);
    paths.log_probabilities[b * paths.count + p] = static_cast<T>(log_probability);
    cut(0);
  }

  // Without the labels from the k-th on.
  void cut(Index k) {
    *length_ = k;
    for (Index* const values : {labels_, starts_, ends_}) std::fill(values + k, values + steps_, Index{-1});
  }
  void add(Index label, Index step) {
    labels_[*length_] = label;
    starts_[(*length_)++] = step;
    lengthen_last(step);
  }
  void lengthen_last(Index step) { ends_[*length_ - 1] = step + 1; }

 private:
  Index steps_;
  Index* length_;
  Index* labels_;
  Index* starts_;
  Index* ends_;
};

// The most probable path of a labelling, by Viterbi's algorithm. Its states are the labels with a blank
// before and after each; a step stays in its state, or moves on by one, or past a blank between different
// labels. What normalizes a step's logits is the same for all paths.
class Aligner {
 public:
  template <class T>
  void write(const CtcOutputs<T>& outputs, Index b, const std::vector<int>& labels, Path<T>& path) {
    const auto states = 2 * labels.size() + 1;
    const auto steps = static_cast<std::size_t>(outputs.length(b));
    best_.assign(states, impossible);
    best_[0] = 0.0;
    moves_.resize(states * steps);
    for (std::size_t t = 0; t < steps; ++t) {
      const T* x = outputs.logits.at(b, static_cast<Index>(t));
      for (std::size_t s = states; s-- > 0;) {
        const bool skips = s % 2 == 1 && s >= 3 && labels[s / 2] != labels[s / 2 - 1];
        std::size_t from = s;
        if (s >= 1 && best_[s - 1] > best_[from]) from = s - 1;
        if (skips && best_[s - 2] > best_[from]) from = s - 2;
        best_[s] = best_[from] + static_cast<double>(x[s % 2 == 1 ? labels[s / 2] : outputs.blank]);
        moves_[t * states + s] = static_cast<unsigned char>(s - from);
      }
    }
    std::size_t s = states - 1;
    if (s > 0 && best_[s - 1] > best_[s]) --s;
    states_.resize(steps);
    for (std::size_t t = steps; t-- > 0; s -= moves_[t * states + s]) states_[t] = s;
    for (std::size_t t = 0; t < steps; ++t) {
      if (states_[t] % 2 == 0) continue;
      if (t > 0 && states_[t - 1] == states_[t]) {
        path.lengthen_last(static_cast<Index>(t));
      } else {
        path.add(labels[states_[t] / 2], static_cast<Index>(t));
      }
    }
  }

 private:
  std::vector<double> best_;
  std::vector<unsigned char> moves_;  // (T,states): by how much each state was reached
  std::vector<std::size_t> states_;
};

template <class T>
void greedy_row(const CtcOutputs<T>& outputs, Index b, bool merge, const CtcPaths<T>& paths, Worker& worker) {
  Path<T> path(outputs, paths, b, 0, 0.0, 0.0);
  double total = 0.0;
  Index last = outputs.blank;
  for (Index t = 0; t < outputs.length(b) && std::isfinite(total); ++t) {
    const T* x = outputs.logits.at(b, t);
    const Index label = std::max_element(x, x + outputs.classes) - x;
    total += static_cast<double>(x[label]) - log_sum(x, outputs.classes);
    if (label != outputs.blank && label == last && merge) {
      path.lengthen_last(t);
    } else if (label != outputs.blank) {
      path.add(label, t);
    }
    last = label;
    if (worker.stopped(16 * outputs.classes)) return;
  }
  if (!std::isfinite(total)) path.cut(0);
  const double probability = std::isfinite(total) ? total : none;
  paths.scores[b] = paths.log_probabilities[b] = static_cast<T>(probability);
}

// Memory of a thread, beside the search's.
struct Scratch {
  std::vector<double> log_probabilities;
  Aligner aligner;
};

// A search's step; false if its logits are no probabilities.
template <class T>
bool advance(const CtcOutputs<T>& outputs, Index b, Index t, BeamSearch& search, Scratch& scratch) {
  const T* x = outputs.logits.at(b, t);
  const double norm = log_sum(x, outputs.classes);
  if (!std::isfinite(norm)) return false;
  scratch.log_probabilities.resize(static_cast<std::size_t>(outputs.classes));
  double* log_probabilities = scratch.log_probabilities.data();
  for (Index c = 0; c < outputs.classes; ++c) log_probabilities[c] = static_cast<double>(x[c]) - norm;
  search.advance(log_probabilities);
  return true;
}

template <class T>
void write_paths(const CtcOutputs<T>& outputs, Index b, const BeamSearch* search, Scratch& scratch,
                 const CtcPaths<T>& paths) {
  std::vector<Labelling> found;
  if (search != nullptr) found = search->best(static_cast<std::size_t>(paths.count));
  for (Index p = 0; p < paths.count; ++p) {
    const auto n = static_cast<std::size_t>(p);
    if (n < found.size()) {
      Path<T> path(outputs, paths, b, p, found[n].score, found[n].log_probability);
      scratch.aligner.write(outputs, b, found[n].labels, path);
    } else {
      const double score = search != nullptr ? impossible : none;
      Path<T>(outputs, paths, b, p, score, score);
    }
  }
}

// A prefix takes about as long as so many elements.
constexpr Index prefix_elements = 32;

template <class T>
Index elements_of_step(const CtcOutputs<T>& outputs, const BeamSettings& settings) {
  return outputs.classes * 8 + std::min<Index>(settings.width, elementwise_grain) * prefix_elements;
}

template <class T>
Index rows_per_thread(const CtcOutputs<T>& outputs, Index elements) {
  return elementwise_grain / (std::min(std::max<Index>(outputs.steps, 1), elementwise_grain) * elements) + 1;
}

}  // namespace

template <class T>
KernelRun run_ctc_greedy(const CtcOutputs<T>& outputs, bool merge, const CtcPaths<T>& paths) {
  const int threads = parallel_shares(outputs.batch, rows_per_thread(outputs, outputs.classes * 8),
                                      [&](Range rows, Worker& worker) {
                                        for (Index b = rows.begin; b < rows.end; ++b) {
                                          greedy_row(outputs, b, merge, paths, worker);
                                        }
                                      });
  return {"ctc_decode", kernels().name, sizeof(T) == sizeof(double), threads, false};
}

template <class T>
KernelRun run_ctc_beam_search(const CtcOutputs<T>& outputs, const BeamSettings& settings,
                              const CtcPaths<T>& paths, const GiveScores& give_scores) {
  const Index elements = elements_of_step(outputs, settings);
  MemoryWatch watch;
  int threads = 1;
  if (!settings.asks) {
    threads =
        parallel_shares(outputs.batch, rows_per_thread(outputs, elements), [&](Range rows, Worker& worker) {
          watch.run([&] {
            BeamSearch search(settings);
            Scratch scratch;
            for (Index b = rows.begin; b < rows.end; ++b) {
              search.begin();
              bool possible = true;
              for (Index t = 0; t < outputs.length(b) && possible; ++t) {
                possible = advance(outputs, b, t, search, scratch);
                if (worker.stopped(elements)) return;
              }
              write_paths(outputs, b, possible ? &search : nullptr, scratch, paths);
            }
          });
        });
    watch.check();
  } else {
    std::vector<BeamSearch> searches(static_cast<std::size_t>(outputs.batch), BeamSearch(settings));
    std::vector<char> possible(searches.size(), true);
    for (BeamSearch& search : searches) search.begin();
    // Row by row: body(b, search, scratch).
    const auto for_rows = [&](const auto& body) {
      threads = parallel_shares(outputs.batch, elementwise_grain / elements + 1, [&](Range rows, Worker&) {
        watch.run([&] {
          Scratch scratch;
          for (Index b = rows.begin; b < rows.end; ++b) {
            body(b, static_cast<std::size_t>(b), scratch);
          }
        });
      });
      watch.check();
    };
    give_scores(searches);
    for (Index t = 0; t < outputs.steps; ++t) {
      for_rows([&](Index b, std::size_t n, Scratch& scratch) {
        if (t < outputs.length(b) && possible[n]) {
          possible[n] = advance(outputs, b, t, searches[n], scratch);
        }
      });
      give_scores(searches);
    }
    for_rows([&](Index b, std::size_t n, Scratch& scratch) {
      write_paths(outputs, b, possible[n] ? &searches[n] : nullptr, scratch, paths);
    });
  }
  return {"ctc_decode", kernels().name, sizeof(T) == sizeof(double), threads, false};
}

#define FUSEDLSTM_INSTANTIATE(T)                                                                        \
  template KernelRun run_ctc_greedy(const CtcOutputs<T>&, bool, const CtcPaths<T>&);                    \
  template KernelRun run_ctc_beam_search(const CtcOutputs<T>&, const BeamSettings&, const CtcPaths<T>&, \
                                         const GiveScores&);
FUSEDLSTM_INSTANTIATE(float)
FUSEDLSTM_INSTANTIATE(double)
#undef FUSEDLSTM_INSTANTIATE

}  // namespace fusedlstm
