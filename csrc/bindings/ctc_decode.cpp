// Decoding of CTC models' outputs on NumPy arrays, and the n-grams that may help it.
#include "../cpu/ctc_decode.h"

#include <cmath>
#include <exception>

#include "checks.h"
#include "gil.h"
#include "module.h"
#include "sizes.h"
#include "strict.h"

namespace fusedlstm::bindings {
namespace {

using Integers = py::array_t<Index, py::array::c_style>;
using Numbers = py::array_t<double, py::array::c_style | py::array::forcecast>;

// The arguments of both strategies, checked, and their results.
class DecodeCall {
 public:
  DecodeCall(const py::object& inputs, const py::object& lengths, Index blank, Index paths)
      : number_(number_type("inputs", inputs)),
        inputs_(readable("inputs", inputs, number_, {{"B"}, {"T"}, {"C"}})),
        blank_(blank),
        paths_(paths) {
    const Index B = inputs_.shape(0), T = inputs_.shape(1), C = inputs_.shape(2);
    if (C < 1 || C > INT32_MAX) raise_value("inputs", "1 to 2^31 - 1 classes", std::to_string(C));
    if (blank < 0 || blank >= C) {
      raise_value("mask_index", "a class in [0, " + std::to_string(C) + ")", std::to_string(blank));
    }
    if (!lengths.is_none()) {
      const auto array = py::cast<Integers>(lengths);
      check_shape("sequence_lengths", array, {{"B", B}});
      lengths_.assign(array.data(), array.data() + B);
      for (Index b = 0; b < B; ++b) {
        const Index length = lengths_[static_cast<std::size_t>(b)];
        if (length >= 0 && length <= T) continue;
        raise_value("sequence_lengths", "numbers from 0 to T=" + std::to_string(T),
                    std::to_string(length) + " at index (" + std::to_string(b) + ",)");
      }
      has_lengths_ = true;
    }
    check_kernels();
  }

  // Calls body(outputs, paths), and returns what it has written.
  template <class Body>
  py::tuple run(const Body& body) const {
    const Index B = inputs_.shape(0), T = inputs_.shape(1), C = inputs_.shape(2);
    return naming_sizes({{"B", B}, {"T", T}, {"C", C}, {"top_paths", paths_}}, [&] {
      return with_number(number_, [&](auto zero) {
        using Real = decltype(zero);
        const py::array labels = new_array<Index>({paths_, B, T}), starts = new_array<Index>({paths_, B, T}),
                        ends = new_array<Index>({paths_, B, T}), lengths = new_array<Index>({paths_, B}),
                        scores = new_array<Real>({B, paths_}),
                        log_probabilities = new_array<Real>({B, paths_});
        body(CtcOutputs<Real>{sequence_of<const Real>(inputs_), has_lengths_ ? lengths_.data() : nullptr, B,
                              T, C, blank_},
             CtcPaths<Real>{paths_, mutable_data<Index>(labels), mutable_data<Index>(lengths),
                            mutable_data<Index>(starts), mutable_data<Index>(ends),
                            mutable_data<Real>(scores), mutable_data<Real>(log_probabilities)});
        return py::make_tuple(labels, scores, log_probabilities, lengths, starts, ends);
      });
    });
  }

  Index classes() const { return inputs_.shape(2); }

 private:
  Number number_;
  Held inputs_;
  std::vector<Index> lengths_;
  bool has_lengths_ = false;
  Index blank_;
  Index paths_;
};

py::tuple ctc_greedy(const py::object& inputs, const py::object& lengths, Index blank, bool merge) {
  return DecodeCall(inputs, lengths, blank, 1).run([&](const auto& outputs, const auto& paths) {
    LongCall unlocked;
    note_run(run_ctc_greedy(outputs, merge, paths));
    unlocked.finish();
  });
}

// Asks a function of Python's for the scores of all waiting prefixes.
void ask(const py::object& scorer, Index classes, std::span<BeamSearch> searches) {
  py::list prefixes;
  for (const BeamSearch& search : searches) {
    for (const int beam : search.waiting()) {
      const std::vector<int> labels = search.labels_of(beam);
      py::tuple prefix(labels.size());
      for (std::size_t n = 0; n < labels.size(); ++n) prefix[n] = labels[n];
      prefixes.append(prefix);
    }
  }
  if (prefixes.empty()) return;
  const auto count = static_cast<Index>(prefixes.size());
  const py::object answer = scorer(prefixes);
  const auto scores = Numbers::ensure(answer);
  if (!scores) {
    PyErr_Clear();
    raise_type("scorer", "an array of log-probabilities back", type_name(answer));
  }
  check_shape("scorer", scores, {{"N", count}, {"C", classes}});
  for (Index n = 0; n < scores.size(); ++n) {
    if (scores.data()[n] < HUGE_VAL) continue;
    raise_value("scorer", "log-probabilities, which are below infinity, back",
                std::to_string(scores.data()[n]) + " at index (" + std::to_string(n / classes) + ", " +
                    std::to_string(n % classes) + ")");
  }
  const double* next = scores.data();
  for (BeamSearch& search : searches) {
    for (const int beam : search.waiting()) {
      search.give_scores(beam, next);
      next += classes;
    }
    search.all_scored();
  }
}

py::tuple ctc_beam_search(const py::object& inputs, const py::object& lengths, Index blank, Index width,
                          Index top_paths, double least, const py::object& scorer, double alpha,
                          double beta) {
  const DecodeCall call(inputs, lengths, blank, top_paths);
  const bool has_ngrams = py::isinstance<NGrams>(scorer);
  const BeamSettings settings{.width = width,
                              .classes = static_cast<int>(call.classes()),
                              .blank = static_cast<int>(blank),
                              .least = least,
                              .alpha = alpha,
                              .beta = beta,
                              .ngrams = has_ngrams ? py::cast<const NGrams*>(scorer) : nullptr,
                              .asks = !has_ngrams && !scorer.is_none()};
  return call.run([&](const auto& outputs, const auto& paths) {
    if (!settings.asks) {
      LongCall unlocked;
      note_run(run_ctc_beam_search(outputs, settings, paths));
      unlocked.finish();
      return;
    }
    WithoutLock unlocked;
    note_run(run_ctc_beam_search(outputs, settings, paths, [&](std::span<BeamSearch> searches) {
      const std::exception_ptr error = unlocked.with_lock([&]() -> std::exception_ptr {
        try {
          ask(scorer, outputs.classes, searches);
          return nullptr;
        } catch (...) {
          return std::current_exception();
        }
      });
      if (error) std::rethrow_exception(error);
    }));
  });
}

// Labels of all n-grams one after another, and how many each has.
NGrams make_ngrams(const Integers& labels, const Integers& lengths, const Numbers& log_probabilities,
                   const Integers& backoff_labels, const Integers& backoff_lengths, const Numbers& backoffs,
                   double unknown) {
  NGrams ngrams(unknown);
  const Index* next = labels.data();
  for (Index n = 0; n < lengths.size(); next += lengths.data()[n++]) {
    ngrams.add_probability(next, lengths.data()[n], log_probabilities.data()[n]);
  }
  next = backoff_labels.data();
  for (Index n = 0; n < backoff_lengths.size(); next += backoff_lengths.data()[n++]) {
    ngrams.add_backoff(next, backoff_lengths.data()[n], backoffs.data()[n]);
  }
  ngrams.link();
  return ngrams;
}

}  // namespace

void bind_ctc_decode(py::module_& module) {
  py::class_<NGrams>(module, "NGrams").def(py::init(&make_ngrams));
  module.def("ctc_greedy", &ctc_greedy);
  module.def("ctc_beam_search", &ctc_beam_search);
}

}  // namespace fusedlstm::bindings
