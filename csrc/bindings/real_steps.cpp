#include "real_steps.h"

#include <algorithm>
#include <cstdint>
#include <limits>

#include "gil.h"

namespace fusedlstm::bindings {
namespace {

std::string shape_of_rows(Index batch, Index steps) {
  return "shape (B=" + std::to_string(batch) + ", T=" + std::to_string(steps) + ")";
}

py::array_t<Index> checked_lengths(const py::object& lengths, Index batch, Index steps) {
  const char* expected = "an array of integers";
  if (!py::isinstance<py::array>(lengths)) raise_type("lengths", expected, type_name(lengths));
  const auto given = py::reinterpret_borrow<py::array>(lengths);
  if (given.dtype().kind() != 'i' && given.dtype().kind() != 'u') {
    raise_type("lengths", expected, "an array of " + py::cast<std::string>(py::str(given.dtype())));
  }
  if (given.ndim() != 1 || given.shape(0) != batch) {
    raise_value("lengths", "shape (B=" + std::to_string(batch) + ",)", "shape " + shape_text(given));
  }
  const bool with_sign = given.dtype().kind() == 'i';
  py::array_t<Index> copy = given.attr("astype")("int64");
  for (Index b = 0; b < batch; ++b) {
    const Index length = copy.at(b);
    if (length < 0 || length > steps) {
      // Larger ones without a sign have become negative.
      raise_value("lengths", "numbers from 0 to T=" + std::to_string(steps),
                  with_sign ? std::to_string(length) : std::to_string(static_cast<std::uint64_t>(length)));
    }
  }
  return copy;
}

py::array_t<bool> checked_mask(const py::object& mask, Index batch, Index steps) {
  const char* expected = "an array of booleans";
  if (!py::isinstance<py::array>(mask)) raise_type("mask", expected, type_name(mask));
  const auto given = py::reinterpret_borrow<py::array>(mask);
  if (given.dtype().kind() != 'b') {
    raise_type("mask", expected, "an array of " + py::cast<std::string>(py::str(given.dtype())));
  }
  if (given.ndim() != 2 || given.shape(0) != batch || given.shape(1) != steps) {
    raise_value("mask", shape_of_rows(batch, steps), "shape " + shape_text(given));
  }
  return given;
}

}  // namespace

RealSteps::RealSteps(const py::object& lengths, const py::object& mask, bool zero_output_for_mask,
                     bool go_backwards, Index batch, Index steps) {
  if (!lengths.is_none() && !mask.is_none()) {
    raise_value("mask", "None together with lengths", "both");
  }
  if (lengths.is_none() && mask.is_none()) return;
  if (steps > std::numeric_limits<std::int32_t>::max()) {
    raise_value("x", "fewer than 2^31 steps together with lengths or a mask", std::to_string(steps));
  }
  py::array_t<Index> counts(std::vector<py::ssize_t>{batch});
  py::array_t<std::int32_t> times(std::vector<py::ssize_t>{batch, steps});
  Index* count = counts.mutable_data();
  std::int32_t* time = times.mutable_data();
  bool whole = true;
  bool left = true;
  Signals signals;
  if (!lengths.is_none()) {
    const py::array_t<Index> given = checked_lengths(lengths, batch, steps);
    for (Index b = 0; b < batch; ++b) {
      count[b] = given.at(b);
      const Index first = go_backwards ? steps - count[b] : 0;
      for (Index s = 0; s < count[b]; ++s) time[b * steps + s] = static_cast<std::int32_t>(first + s);
      whole = whole && count[b] == steps;
      left = left && (first == 0 || count[b] == 0);
      signals.check_after(steps);
    }
  } else {
    const py::array_t<bool> given = checked_mask(mask, batch, steps);
    const auto real = given.unchecked<2>();
    for (Index b = 0; b < batch; ++b) {
      count[b] = 0;
      for (Index t = 0; t < steps; ++t) {
        if (!real(b, go_backwards ? steps - 1 - t : t)) continue;
        left = left && t == count[b];
        time[b * steps + count[b]++] = static_cast<std::int32_t>(t);
      }
      whole = whole && count[b] == steps;
      signals.check_after(steps);
    }
    repeats_ = !whole && !zero_output_for_mask;
  }
  if (whole) return;
  lengths_ = counts;
  length_data_ = count;
  if (left) return;
  times_ = times;
  time_data_ = time;
}

Timeline RealSteps::timeline(Index steps) const {
  Timeline timeline = Timeline::whole(steps, length_data_);
  timeline.times = time_data_;
  return timeline;
}

template <class Body>
void RealSteps::for_each_other(Index b, Index steps, const Body& body) const {
  const Timeline line = timeline(steps);
  const Index count = line.length(b);
  for (Index t = 0, s = 0; t < steps; ++t) {
    if (s < count && line.time(b, s) == t) {
      ++s;
    } else {
      body(t, s);
    }
  }
}

template <class T>
void RealSteps::fill_outputs(T* y, const T* h0, Index batch, Index steps, Index units) const {
  if (!repeats_) return clear_others(y, batch, steps, units, false);
  for (Index b = 0; b < batch; ++b) {
    for_each_other(b, steps, [&](Index t, Index s) {
      T* out = y + (b * steps + t) * units;
      if (s == 0 && h0 == nullptr) {
        std::fill_n(out, units, T(0));
      } else {
        // The output before has the same state; that before the first one is h0.
        std::copy_n(t > 0 ? out - units : h0 + b * units, units, out);
      }
    });
    if (Interruptible::leave(steps * units)) return;
  }
}

template <class T>
void RealSteps::gather_gradients(const Sequence<const T>& dy, T* sums, T* dh0, Index batch, Index steps,
                                 Index units) const {
  const Timeline line = timeline(steps);
  for (Index b = 0; b < batch; ++b) {
    for (Index s = 0; s < line.length(b); ++s) {
      const Index t = line.time(b, s);
      std::copy_n(dy.at(b, t), units, sums + (b * steps + t) * units);
    }
    for_each_other(b, steps, [&](Index t, Index s) {
      T* target = s > 0 ? sums + (b * steps + line.time(b, s - 1)) * units : dh0 + b * units;
      const T* source = dy.at(b, t);
      for (Index j = 0; j < units; ++j) target[j] += source[j];
    });
    if (Interruptible::leave(steps * units)) return;
  }
}

template <class T>
void RealSteps::clear_others(T* data, Index batch, Index steps, Index features, bool backwards) const {
  const bool on_the_right = time_data_ == nullptr && !backwards;
  const Timeline line = timeline(steps);
  for (Index b = 0; b < batch && !Interruptible::leave(steps * features); ++b) {
    T* row = data + b * steps * features;
    if (on_the_right) {
      std::fill(row + line.length(b) * features, row + steps * features, T(0));
      continue;
    }
    for_each_other(b, steps, [&](Index t, Index) {
      std::fill_n(row + (backwards ? steps - 1 - t : t) * features, features, T(0));
    });
  }
}

#define FUSEDLSTM_INSTANTIATE(T)                                                                          \
  template void RealSteps::fill_outputs(T*, const T*, Index, Index, Index) const;                         \
  template void RealSteps::gather_gradients(const Sequence<const T>&, T*, T*, Index, Index, Index) const; \
  template void RealSteps::clear_others(T*, Index, Index, Index, bool) const;
FUSEDLSTM_INSTANTIATE(float)
FUSEDLSTM_INSTANTIATE(double)
#undef FUSEDLSTM_INSTANTIATE

}  // namespace fusedlstm::bindings
