// The CTC loss on NumPy arrays.
#include "../cpu/ctc.h"

#include <algorithm>

#include "checks.h"
#include "gil.h"
#include "module.h"
#include "sizes.h"
#include "strict.h"

namespace fusedlstm::bindings {
namespace {

// Whole numbers in C order, made by the Python layer.
using Whole = py::array_t<Index, py::array::c_style>;

// A copy, since another thread may write into the array while a kernel goes by these numbers.
Buffer<Index> copy_of(const Whole& numbers) {
  Buffer<Index> copy(numbers.size());
  std::copy(numbers.data(), numbers.data() + numbers.size(), copy.data());
  return copy;
}

// The lengths (B), all of them `most` for None.
Buffer<Index> checked_lengths(const char* name, const py::object& lengths, Index batch, const Dim& most) {
  if (lengths.is_none()) {
    Buffer<Index> all(batch);
    std::fill(all.data(), all.data() + batch, most.length);
    return all;
  }
  const auto numbers = py::cast<Whole>(lengths);
  check_shape(name, numbers, {{"B", batch}});
  Buffer<Index> copy = copy_of(numbers);
  for (Index b = 0; b < batch; ++b) {
    const Index length = copy.data()[b];
    if (length >= 0 && length <= most.length) continue;
    raise_value(name, std::string("numbers from 0 to ") + most.letter + "=" + std::to_string(most.length),
                std::to_string(length) + " at index (" + std::to_string(b) + ",)");
  }
  return copy;
}

// The labels (B,L), each row's first ones classes other than the blank; the others may be anything.
Buffer<Index> checked_labels(const Whole& labels, const Index* lengths, Index classes, Index blank) {
  Buffer<Index> copy = copy_of(labels);
  Signals signals;
  for (Index b = 0; b < labels.shape(0); ++b) {
    for (Index j = 0; j < lengths[b]; ++j) {
      const Index label = copy.data()[b * labels.shape(1) + j];
      if (label >= 0 && label < classes && label != blank) continue;
      raise_value(
          "labels",
          "classes in [0, C=" + std::to_string(classes) + ") other than the blank, " + std::to_string(blank),
          std::to_string(label) + " at index (" + std::to_string(b) + ", " + std::to_string(j) + ")");
    }
    signals.check_after(lengths[b]);
  }
  return copy;
}

py::tuple ctc_loss(const py::object& logits, const Whole& labels, const py::object& logit_lengths,
                   const py::object& label_lengths, Index blank, bool zero_infinity,
                   const py::object& row_weights, bool need_dlogits) {
  const Number number = number_type("logits", logits);
  const Held x = readable("logits", logits, number, {{"B"}, {"T"}, {"C"}});
  const Index B = x.shape(0);
  const Index T = x.shape(1);
  const Index C = x.shape(2);
  check_shape("labels", labels, {{"B", B}, {"L"}});
  const Index L = labels.shape(1);
  if (blank < 0 || blank >= C) {
    raise_value("blank", "a class in [0, C=" + std::to_string(C) + ")", std::to_string(blank));
  }
  const Buffer<Index> steps = checked_lengths("logit_lengths", logit_lengths, B, {"T", T});
  const Buffer<Index> counts = checked_lengths("label_lengths", label_lengths, B, {"L", L});
  const Buffer<Index> classes = checked_labels(labels, counts.data(), C, blank);
  const Held weights = optional_contiguous("row_weights", row_weights, number, {{"B", B}});
  check_kernels();
  return with_number(number, [&](auto zero) {
    using N = decltype(zero);
    py::array losses = new_array<N>({B});
    const Held dlogits = need_dlogits ? Held::made_here(new_array<N>({B, T, C})) : Held();
    CtcProblem<N> p{};
    p.steps = T;
    p.classes = C;
    p.logits = sequence_of<const N>(x);
    p.labels = classes.data();
    p.most_labels = L;
    p.label_lengths = counts.data();
    p.logit_lengths = steps.data();
    p.blank = blank;
    p.weights = data_of<N>(weights);
    p.zero_infinity = zero_infinity;
    p.losses = mutable_data<N>(losses);
    p.dlogits = mutable_data<N>(dlogits);
    naming_sizes({{"B", B}, {"T", T}, {"C", C}, {"L", L}}, [&] {
      LongCall unlocked;
      note_run(run_ctc(p, B));
      unlocked.finish();
    });
    return py::make_tuple(losses, dlogits.object());
  });
}

}  // namespace

void bind_ctc(py::module_& module) { module.def("ctc_loss", &ctc_loss); }

}  // namespace fusedlstm::bindings
