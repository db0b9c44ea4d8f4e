#include "real_steps.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>

#include "interrupt.h"

namespace fusedlstm {
namespace {

// Times have 32 bits.
void check_steps(Index steps) {
  if (steps <= std::numeric_limits<std::int32_t>::max()) return;
  throw std::invalid_argument("x: expected fewer than 2^31 steps together with lengths or a mask, got " +
                              std::to_string(steps));
}

Buffer<std::int32_t> make_times(Index batch, Index steps) {
  const CheckedSize count = CheckedSize(batch) * steps;
  if (!count.fits()) throw std::bad_alloc();
  return Buffer<std::int32_t>(count.value());
}

}  // namespace

RealSteps::RealSteps(Steps steps, Index batch, Index total, bool left, bool repeat) {
  const Index* lengths = steps.lengths.data();
  if (std::all_of(lengths, lengths + batch, [&](Index length) { return length == total; })) return;
  if (left) steps.times = {};
  steps_ = std::make_shared<const Steps>(std::move(steps));
  repeats_ = repeat;
}

RealSteps RealSteps::of_lengths(const Index* lengths, Index batch, Index steps, bool go_backwards) {
  check_steps(steps);
  Steps real{Buffer<Index>(batch), go_backwards ? make_times(batch, steps) : Buffer<std::int32_t>()};
  bool left = true;
  for (Index b = 0; b < batch && !Interruptible::leave(steps); ++b) {
    const Index length = lengths[b];
    if (length < 0 || length > steps) {
      throw std::invalid_argument("lengths: expected numbers from 0 to T=" + std::to_string(steps) +
                                  ", got " + std::to_string(length));
    }
    real.lengths.data()[b] = length;
    if (!go_backwards) continue;
    left = left && (length == 0 || length == steps);
    std::int32_t* time = real.times.data() + b * steps;
    std::iota(time, time + length, static_cast<std::int32_t>(steps - length));
  }
  return {std::move(real), batch, steps, left, false};
}

RealSteps RealSteps::of_mask(const Sequence<const bool>& mask, Index batch, Index steps, bool repeat) {
  check_steps(steps);
  Steps real{Buffer<Index>(batch), make_times(batch, steps)};
  bool left = true;
  for (Index b = 0; b < batch && !Interruptible::leave(steps); ++b) {
    std::int32_t* time = real.times.data() + b * steps;
    Index count = 0;
    for (Index t = 0; t < steps; ++t) {
      if (!*mask.at(b, t)) continue;
      left = left && t == count;
      time[count++] = static_cast<std::int32_t>(t);
    }
    real.lengths.data()[b] = count;
  }
  return {std::move(real), batch, steps, left, repeat};
}

Timeline RealSteps::timeline(Index steps) const {
  if (all()) return Timeline::whole(steps, nullptr);
  Timeline timeline = Timeline::whole(steps, steps_->lengths.data());
  timeline.times = steps_->times.data();
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
void RealSteps::fill_outputs(T* y, const T* h0, Index batch, Index steps, Index outputs) const {
  if (!repeats_) return clear_others(Sequence<T>{y, steps * outputs, outputs}, batch, steps, outputs);
  for (Index b = 0; b < batch; ++b) {
    for_each_other(b, steps, [&](Index t, Index s) {
      T* out = y + (b * steps + t) * outputs;
      if (s == 0 && h0 == nullptr) {
        std::fill_n(out, outputs, T(0));
      } else {
        // The output before has the same state; that before the first one is h0.
        std::copy_n(t > 0 ? out - outputs : h0 + b * outputs, outputs, out);
      }
    });
    if (Interruptible::leave(steps * outputs)) return;
  }
}

template <class T>
void RealSteps::gather_gradients(const Sequence<const T>& dy, T* sums, T* dh0, Index batch, Index steps,
                                 Index outputs) const {
  const Timeline line = timeline(steps);
  for (Index b = 0; b < batch; ++b) {
    for (Index s = 0; s < line.length(b); ++s) {
      const Index t = line.time(b, s);
      std::copy_n(dy.at(b, t), outputs, sums + (b * steps + t) * outputs);
    }
    for_each_other(b, steps, [&](Index t, Index s) {
      T* target = s > 0 ? sums + (b * steps + line.time(b, s - 1)) * outputs : dh0 + b * outputs;
      const T* source = dy.at(b, t);
      for (Index j = 0; j < outputs; ++j) target[j] += source[j];
    });
    if (Interruptible::leave(steps * outputs)) return;
  }
}

template <class T>
void RealSteps::clear_others(const Sequence<T>& out, Index batch, Index steps, Index features) const {
  if (all()) return;
  const Timeline line = timeline(steps);
  const bool in_one_piece = line.times == nullptr && out.step == features;
  for (Index b = 0; b < batch && !Interruptible::leave(steps * features); ++b) {
    if (in_one_piece) {
      std::fill_n(out.at(b, line.length(b)), (steps - line.length(b)) * features, T(0));
      continue;
    }
    for_each_other(b, steps, [&](Index t, Index) { std::fill_n(out.at(b, t), features, T(0)); });
  }
}

#define FUSEDLSTM_INSTANTIATE(T)                                                                          \
  template void RealSteps::fill_outputs(T*, const T*, Index, Index, Index) const;                         \
  template void RealSteps::gather_gradients(const Sequence<const T>&, T*, T*, Index, Index, Index) const; \
  template void RealSteps::clear_others(const Sequence<T>&, Index, Index, Index) const;
FUSEDLSTM_INSTANTIATE(float)
FUSEDLSTM_INSTANTIATE(double)
#undef FUSEDLSTM_INSTANTIATE

}  // namespace fusedlstm
