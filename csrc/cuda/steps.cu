#include <type_traits>

#include "number_types.cuh"
#include "rows.cuh"
#include "steps.h"

namespace fusedlstm::cuda {
namespace {

constexpr int warps_per_block = 4;

// A warp for each row, which looks at 32 steps at a time.
template <class IsReal>
__device__ __forceinline__ void find_steps(Index batch, Index steps, const FoundSteps& found,
                                           const IsReal& is_real) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const Index b = static_cast<Index>(blockIdx.x) * warps_per_block + static_cast<int>(threadIdx.x) / 32;
  if (b >= batch) return;
  int before = 0;
  for (Index first = 0; first < steps; first += 32) {
    const Index t = first + lane;
    const bool real = t < steps && is_real(b, t);
    const unsigned all = __ballot_sync(0xffffffffu, real ? 1 : 0);
    const int count = before + __popc(all & ((1u << lane) - 1)) + (real ? 1 : 0);
    if (t < steps) found.counts[b * steps + t] = count;
    if (real) found.times[b * steps + count - 1] = static_cast<std::int32_t>(t);
    before += __popc(all);
  }
  if (lane == 0) found.lengths[b] = before;
}

__global__ void __launch_bounds__(32 * warps_per_block)
    find_masked_steps_kernel(const Index batch, const Index steps, const std::uint8_t* mask,
                             const FoundSteps found) {
  find_steps(batch, steps, found, [&](Index b, Index t) { return mask[b * steps + t] != 0; });
}

__global__ void __launch_bounds__(32 * warps_per_block)
    find_last_steps_kernel(const Index batch, const Index steps, const Index* lengths,
                           const FoundSteps found) {
  find_steps(batch, steps, found, [&](Index b, Index t) { return t >= steps - lengths[b]; });
}

unsigned blocks_for(Index batch) {
  return static_cast<unsigned>((batch + warps_per_block - 1) / warps_per_block);
}

__device__ __forceinline__ Index length_of(const RealSteps& real, Index b) {
  return real.lengths == nullptr ? real.steps : real.lengths[b];
}

// Whether a time is that of a real step, and how many of those the row has had by then.
struct StepAt {
  bool real;
  Index count;

  __device__ __forceinline__ StepAt(const RealSteps& steps, Index b, Index t) {
    if (steps.times == nullptr) {
      const Index length = length_of(steps, b);
      real = t < length;
      count = real ? t + 1 : length;
    } else {
      count = steps.counts[b * steps.steps + t];
      real = count > 0 && steps.times[b * steps.steps + count - 1] == t;
    }
  }
};

template <class T>
__global__ void __launch_bounds__(threads_for_rows, blocks_for_rows)
    gather_steps_kernel(const RealSteps real, const Index features, const Sequence<const T> from, T* to) {
  for_each_own_of_batch(real.batch, real.steps, features, [&](Index b, Index s, Index j) {
    const Index row = b * real.steps + s;
    T value(0.0f);
    if (s < length_of(real, b)) value = from.at(b, real.times == nullptr ? s : real.times[row])[j];
    to[row * features + j] = value;
  });
}

template <class T>
__global__ void __launch_bounds__(threads_for_rows, blocks_for_rows)
    spread_steps_kernel(const RealSteps real, const Index features, const T* from, const bool repeats,
                        const T* first, const Sequence<T> to) {
  for_each_own_of_batch(real.batch, real.steps, features, [&](Index b, Index t, Index j) {
    const StepAt step(real, b, t);
    T value(0.0f);
    if (step.real || (repeats && step.count > 0)) {
      value = from[(b * real.steps + step.count - 1) * features + j];
    } else if (repeats && first != nullptr) {
      value = first[b * features + j];
    }
    to.at(b, t)[j] = value;
  });
}

template <class T>
__global__ void __launch_bounds__(threads_for_rows, blocks_for_rows)
    sum_repeats_kernel(const RealSteps real, const Index features, const Sequence<const T> from, T* sums,
                       T* first) {
  using Sum = StateOf<T>;
  for_each_own<1>(real.batch, features, [&](Index b, Index j) {
    // Where the sum goes: beginning with `first`, a place further with each real step.
    T* out = first + b * features + j;
    T* next = sums + b * real.steps * features + j;
    Sum sum(0);
    Index count = 0;
#pragma unroll 1
    for (Index t = 0; t < real.steps; ++t) {
      const Index now = real.counts[b * real.steps + t];
      const Sum value = static_cast<Sum>(from.at(b, t)[j]);
      if (now > count) {
        *out = static_cast<T>(sum);
        out = next;
        next += features;
        sum = value;
      } else {
        sum += value;
      }
      count = now;
    }
    *out = static_cast<T>(sum);
#pragma unroll 1
    for (Index s = count; s < real.steps; ++s, next += features) *next = T(0.0f);
  });
}

template <class T>
__global__ void __launch_bounds__(threads_for_rows, blocks_for_rows)
    previous_states_kernel(const RealSteps real, const Index features, const T* h0, const T* y,
                           const T* factors, T* previous) {
  using Sum = StateOf<T>;
  for_each_own_of_batch(real.batch, real.steps, features, [&](Index b, Index s, Index j) {
    const Index row = b * real.steps + s;
    T value(0.0f);
    if (s < length_of(real, b)) {
      if (s > 0) {
        value = y[(row - 1) * features + j];
      } else if (h0 != nullptr) {
        value = h0[b * features + j];
      }
      if (factors != nullptr) {
        value = static_cast<T>(static_cast<Sum>(factors[b * features + j]) * static_cast<Sum>(value));
      }
    }
    previous[row * features + j] = value;
  });
}

}  // namespace

void find_masked_steps(Index batch, Index steps, const std::uint8_t* mask, const FoundSteps& found,
                       cudaStream_t stream) {
  if (batch == 0) return;
  launch({"find_masked_steps", blocks_for(batch), 32 * warps_per_block, 0, stream}, find_masked_steps_kernel,
         batch, steps, mask, found);
}

void find_last_steps(Index batch, Index steps, const Index* lengths, const FoundSteps& found,
                     cudaStream_t stream) {
  if (batch == 0) return;
  launch({"find_last_steps", blocks_for(batch), 32 * warps_per_block, 0, stream}, find_last_steps_kernel,
         batch, steps, lengths, found);
}

template <class T>
void gather_steps(const RealSteps& real, Index features, const Sequence<const T>& from, T* to,
                  cudaStream_t stream) {
  launch_batch("gather_steps", real.batch, real.steps, features, stream, gather_steps_kernel<T>, real,
               features, from, to);
}

template <class T>
void spread_steps(const RealSteps& real, Index features, const T* from, bool repeats, const T* first,
                  const Sequence<T>& to, cudaStream_t stream) {
  launch_batch("spread_steps", real.batch, real.steps, features, stream, spread_steps_kernel<T>, real,
               features, from, repeats, first, to);
}

template <class T>
void sum_repeats(const RealSteps& real, Index features, const Sequence<const T>& from, T* sums, T* first,
                 cudaStream_t stream) {
  launch_rows("sum_repeats", real.batch, features, stream, sum_repeats_kernel<T>, real, features, from, sums,
              first);
}

template <class T>
void previous_states(const RealSteps& real, Index features, const T* h0, const T* y, const T* factors,
                     T* previous, cudaStream_t stream) {
  launch_batch("previous_states", real.batch, real.steps, features, stream, previous_states_kernel<T>, real,
               features, h0, y, factors, previous);
}

#define FUSEDLSTM_INSTANTIATE(T)                                                                      \
  template void gather_steps(const RealSteps&, Index, const Sequence<const T>&, T*, cudaStream_t);    \
  template void spread_steps(const RealSteps&, Index, const T*, bool, const T*, const Sequence<T>&,   \
                             cudaStream_t);                                                           \
  template void sum_repeats(const RealSteps&, Index, const Sequence<const T>&, T*, T*, cudaStream_t); \
  template void previous_states(const RealSteps&, Index, const T*, const T*, const T*, T*, cudaStream_t);
FUSEDLSTM_FOR_EACH_NUMBER_TYPE(FUSEDLSTM_INSTANTIATE)
#undef FUSEDLSTM_INSTANTIATE

}  // namespace fusedlstm::cuda
