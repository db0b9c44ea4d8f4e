// A block walks through the steps of its row, forward and back, with the states of one step in shared memory
// and a thread for each pair of a blank and a label. All sums have one order, which the widths of the arrays
// say.
#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "../math/ctc.h"
#include "ctc.h"
#include "number.cuh"
#include "plan.h"

namespace fusedlstm::cuda {

// 2^n; see math/ctc.h.
template <class T>
FUSEDLSTM_INLINE inline Number<T> exp2_of_whole(Number<T> n) {
  return Number<T>(::ldexp(T(1), static_cast<int>(n.v)));
}

namespace {

struct CtcTraits {
  static constexpr int least_threads = 128;
  static constexpr int most_threads = 512;
  static constexpr int most_warps = most_threads / 32;
  // A mantissa grows by less than 2^3 a step, and alpha's times beta's is a number.
  static constexpr Index normal_steps = 8;
  static_assert(most_threads % 32 == 0 && most_threads <= 1024);
};

template <class T>
constexpr T lowest = -static_cast<T>(HUGE_VAL);

// ln 2 in two parts, the first one with all digits of a number.
template <class T>
struct Ln2;
template <>
struct Ln2<float> {
  static constexpr float high = 0x1.62e43p-1f, low = -0x1.05c610p-29f;
};
template <>
struct Ln2<double> {
  static constexpr double high = 0x1.62e42fefa39efp-1, low = 0x1.abc9e3b39803fp-56;
};

// exp(x) for x <= 0; zero below -farthest_logit, and for NaN.
template <class T>
__device__ __forceinline__ Scaled<Number<T>> scaled_exponential(T x) {
  if (!(x >= T(-farthest_logit))) return {Number<T>(T(0)), Number<T>(lowest<T>)};
  const T n = ::rint(x * T(1.4426950408889634));
  const T r = ::fma(-n, Ln2<T>::low, ::fma(-n, Ln2<T>::high, x));
  return {Number<T>(::exp(r)), Number<T>(n)};
}

template <class T>
__device__ __forceinline__ T lanes_sum(T value) {
#pragma unroll
  for (int d = 16; d > 0; d /= 2) value += __shfl_xor_sync(0xffffffff, value, d);
  return value;
}
// A NaN may be lost.
template <class T>
__device__ __forceinline__ T lanes_max(T value) {
#pragma unroll
  for (int d = 16; d > 0; d /= 2) {
    const T other = __shfl_xor_sync(0xffffffff, value, d);
    value = value > other ? value : other;
  }
  return value;
}

// Mantissas and exponents of states.
template <class T>
struct States {
  T* m;
  T* e;

  __device__ __forceinline__ Scaled<Number<T>> at(Index j) const {
    return {Number<T>(m[j]), Number<T>(e[j])};
  }
  __device__ __forceinline__ void put(Index j, const Scaled<Number<T>>& x) const {
    m[j] = x.m.v;
    e[j] = x.e.v;
  }
  __device__ __forceinline__ void put_zero(Index j) const {
    m[j] = T(0);
    e[j] = lowest<T>;
  }
};

// A block's shared memory for so many labels. Label j is at j + 1, a zero before and after all.
template <class T>
class Shared {
 public:
  static constexpr std::size_t of_label = 8 * sizeof(T) + 3 * sizeof(int);

  __device__ __forceinline__ Shared(T* memory, Index labels) : memory_(memory), size_(labels + 2) {}

  // States of the labels, of one step and the next in turns.
  __device__ __forceinline__ States<T> labels(Index turn) const {
    T* const from = memory_ + turn % 2 * 2 * size_;
    return {from, from + size_};
  }
  __device__ __forceinline__ T* occupied(Index turn) const { return memory_ + (4 + turn % 2) * size_; }
  // States of the blanks, each of its thread alone.
  __device__ __forceinline__ States<T> blanks() const { return {memory_ + 6 * size_, memory_ + 7 * size_}; }
  // By label: its class, the next one of the same class, or 0, and whether there is none before it.
  __device__ __forceinline__ int* classes() const { return reinterpret_cast<int*>(memory_ + 8 * size_); }
  __device__ __forceinline__ int* next() const { return classes() + size_; }
  __device__ __forceinline__ int* first() const { return classes() + 2 * size_; }

 private:
  T* memory_;
  Index size_;
};

// Pieces of a step's alphas in the scratch: blanks and labels, mantissas and exponents.
constexpr Index pieces = 4;

// For each step its largest logit, a shift of exponents, and for a gradient its alphas.
FUSEDLSTM_INLINE inline Index scratch_of(Index steps, Index labels, bool gradient) {
  return steps * (gradient ? 2 + pieces * (labels + 1) : 2);
}

template <class T>
class CtcBlock {
 public:
  using N = Number<T>;

  __device__ __forceinline__ CtcBlock(const CtcLoss<T>& problem, T* memory)
      : p_(problem),
        b_(blockIdx.x),
        steps_(problem.logit_lengths[b_]),
        count_(problem.label_lengths[b_]),
        weight_(problem.weights == nullptr ? T(1) : problem.weights[b_]),
        shared_(memory, count_),
        most_(problem.scratch +
              b_ * scratch_of(problem.steps, problem.most_labels, problem.dlogits != nullptr)),
        shifts_(most_ + problem.steps),
        alphas_(shifts_ + problem.steps) {}

  __device__ void run() {
    const T impossible = p_.zero_infinity ? T(0) : -lowest<T>;
    if (!possible()) return finish(impossible, T(0), 0);
    const double sums = emit();
    Index base = 0;
    const Scaled<N> likelihood = forward(base);
    if (likelihood.m.v != likelihood.m.v || sums != sums) {
      const T nan = likelihood.m.v + static_cast<T>(sums);
      return finish(nan, nan, 0);
    }
    if (likelihood.e.v == lowest<T>) return finish(impossible, T(0), 0);
    T loss(0);
    if (threadIdx.x == 0) {
      constexpr double ln2 = 0.693147180559945309417;
      const double exponent = static_cast<double>(likelihood.e.v) + static_cast<double>(base);
      const double exact = sums - (::log(static_cast<double>(likelihood.m.v)) + exponent * ln2);
      loss = exact > 0.0 ? static_cast<T>(exact) : T(0);  // Rounding may leave it below zero.
    }
    if (p_.dlogits != nullptr) backward(likelihood);
    finish(loss, T(0), steps_);
  }

 private:
  __device__ __forceinline__ T* gradient_of(Index t) const {
    return p_.dlogits + (b_ * p_.steps + t) * p_.classes;
  }
  // Alphas of the blanks of pairs j, a blank and the label before it.
  __device__ __forceinline__ States<T> blank_alphas(Index t) const {
    T* const step = alphas_ + t * pieces * (p_.most_labels + 1);
    return {step, step + p_.most_labels + 1};
  }
  __device__ __forceinline__ States<T> label_alphas(Index t) const {
    T* const step = alphas_ + (t * pieces + 2) * (p_.most_labels + 1);
    return {step, step + p_.most_labels + 1};
  }

  // Calls body(j) for a thread's own pairs.
  template <class Body>
  __device__ __forceinline__ void for_pairs(const Body& body) const {
    for (Index j = threadIdx.x; j <= count_; j += blockDim.x) body(j);
  }

  // The loss, by the first thread; the gradient of steps from `from` on, which is `gradient` of real ones.
  __device__ void finish(T loss, T gradient, Index from) const {
    if (threadIdx.x == 0) p_.losses[b_] = loss;
    if (p_.dlogits == nullptr) return;
    __syncthreads();
    T* const dx = gradient_of(0);
    const Index real = steps_ * p_.classes;
    for (Index i = from * p_.classes + threadIdx.x; i < p_.steps * p_.classes; i += blockDim.x) {
      dx[i] = i < real ? gradient : T(0);
    }
  }

  // Whether there are steps enough: one for each label, and one for a blank between equal ones. Leaves the
  // labels in shared memory.
  __device__ bool possible() {
    const Index* const labels = p_.labels + b_ * p_.most_labels;
    Index least = count_;
    for (Index first = 0; first < count_; first += blockDim.x) {
      const Index j = first + threadIdx.x;
      const bool here = j < count_;
      if (here) shared_.classes()[j + 1] = static_cast<int>(labels[j]);
      least += __syncthreads_count(here && j > 0 && labels[j] == labels[j - 1]);
    }
    return least <= steps_;
  }

  __device__ __forceinline__ bool same(Index j) const {
    return j > 0 && j < count_ && shared_.classes()[j] == shared_.classes()[j + 1];
  }

  // The softmax, which is the gradient where no label is, and the largest logits: a warp for each step.
  // Returns the logarithm of the product of softmax's sums.
  __device__ double emit() const {
    __shared__ double of_warps[CtcTraits::most_warps];
    const Index lane = threadIdx.x % 32;
    const Index warps = blockDim.x / 32;
    double product = 1.0;
    double logs = 0.0;
    for (Index t = threadIdx.x / 32; t < steps_; t += warps) {
      const T* const x = p_.logits.at(b_, t);
      T most = lowest<T>;
#pragma unroll 4
      for (Index c = lane; c < p_.classes; c += 32) most = x[c] > most ? x[c] : most;
      most = lanes_max(most);
      T sum(0);
#pragma unroll 4
      for (Index c = lane; c < p_.classes; c += 32) sum += ::exp(x[c] - most);
      sum = lanes_sum(sum);
      if (p_.dlogits != nullptr) {
        T* const dx = gradient_of(t);
        const T factor = weight_ / sum;
#pragma unroll 4
        for (Index c = lane; c < p_.classes; c += 32) dx[c] = ::exp(x[c] - most) * factor;
      }
      if (lane == 0) most_[t] = most;
      product *= static_cast<double>(sum);
      if (product > 1e200) {
        logs += ::log(product);
        product = 1.0;
      }
    }
    if (lane == 0) of_warps[threadIdx.x / 32] = logs + ::log(product);
    __syncthreads();
    double total = 0.0;
    for (Index w = 0; w < warps; ++w) total += of_warps[w];
    return total;
  }

  // All states zero but one blank.
  __device__ __forceinline__ void begin(Index one) const {
    for_pairs([&](Index j) {
      for (int k = 0; k < 2; ++k) {
        shared_.labels(k).put_zero(j);
        if (j == count_) shared_.labels(k).put_zero(j + 1);
      }
      shared_.blanks().put(j, {N(j == one ? T(1) : T(0)), N(j == one ? T(0) : lowest<T>)});
    });
    __syncthreads();
  }

  // A state with a mantissa in [1/2, 1), or zero.
  static __device__ __forceinline__ Scaled<N> normalized(const Scaled<N>& x) {
    int power = 0;
    const T m = ::frexp(x.m.v, &power);
    return {N(m), N(x.m.v > T(0) ? x.e.v + static_cast<T>(power) : lowest<T>)};
  }

  // Normalizes the mantissas of a thread's pairs, whose labels are at j + `of_label`, and takes the largest
  // exponent of all off them, which is returned.
  __device__ T normalize(const States<T>& labels, Index of_label) const {
    __shared__ T of_warps[CtcTraits::most_warps];
    T most = lowest<T>;
    for_pairs([&](Index j) {
      const Scaled<N> blank = normalized(shared_.blanks().at(j)), label = normalized(labels.at(j + of_label));
      shared_.blanks().put(j, blank);
      labels.put(j + of_label, label);
      most = max(most, max(blank.e.v, label.e.v));
    });
    most = lanes_max(most);
    if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = most;
    __syncthreads();
    for (unsigned w = 0; w < blockDim.x / 32; ++w) most = max(most, of_warps[w]);
    if (!(most > lowest<T>)) return T(0);
    for_pairs([&](Index j) {
      shared_.blanks().e[j] -= most;
      labels.e[j + of_label] -= most;
    });
    return most;
  }

  // The row's probability, without the sums of softmax, and 2^base.
  __device__ Scaled<N> forward(Index& base) const {
    begin(0);
    for (Index t = 0; t < steps_; ++t) {
      const States<T> from = shared_.labels(t), to = shared_.labels(t + 1);
      const T* const x = p_.logits.at(b_, t);
      const T most = most_[t];
      const Scaled<N> y_blank = scaled_exponential(x[p_.blank] - most);
      for_pairs([&](Index j) {
        const Reached<N> sums =
            reach(shared_.blanks().at(j), from.at(j + 1), from.at(j), N(same(j) ? T(1) : T(0)));
        shared_.blanks().put(j, sums.blank * y_blank);
        if (j < count_) to.put(j + 1, sums.label * scaled_exponential(x[shared_.classes()[j + 1]] - most));
      });
      if (t % CtcTraits::normal_steps == CtcTraits::normal_steps - 1) {
        const T shift = normalize(to, 1);
        if (threadIdx.x == 0) shifts_[t] = shift;
        base += static_cast<Index>(shift);
      }
      if (p_.dlogits != nullptr) {
        for_pairs([&](Index j) {
          blank_alphas(t).put(j, shared_.blanks().at(j));
          if (j < count_) label_alphas(t).put(j + 1, to.at(j + 1));
        });
      }
      __syncthreads();
    }
    return shared_.blanks().at(count_) + shared_.labels(steps_).at(count_);
  }

  // Links the labels of one class: each thread looks from its labels in both directions.
  __device__ void link() const {
    for (Index j = 1 + threadIdx.x; j <= count_; j += blockDim.x) {
      const int wanted = shared_.classes()[j];
      Index before = j - 1;
      while (before > 0 && shared_.classes()[before] != wanted) --before;
      Index behind = j + 1;
      while (behind <= count_ && shared_.classes()[behind] != wanted) ++behind;
      shared_.first()[j] = before == 0;
      shared_.next()[j] = behind <= count_ ? static_cast<int>(behind) : 0;
    }
  }

  __device__ void backward(const Scaled<N>& likelihood) const {
    __shared__ T of_warps[2][CtcTraits::most_warps];
    __syncthreads();  // Everybody has seen the last alphas.
    link();
    begin(count_);
    const N factor(weight_ / likelihood.m.v);
    Index base = -static_cast<Index>(likelihood.e.v);
    for (Index t = steps_ - 1; t >= 0; --t) {
      const States<T> from = shared_.labels(t), to = shared_.labels(t + 1);
      T* const occupied = shared_.occupied(t);
      const T* const x = p_.logits.at(b_, t);
      const T most = most_[t];
      const Scaled<N> y_blank = scaled_exponential(x[p_.blank] - most);
      const N offset(static_cast<T>(base));
      const auto occupancy = [&](const Scaled<N>& from_start, const Scaled<N>& to_end) {
        const N n = max((from_start.e + to_end.e) + offset, N(T(-least_power)));
        return ((from_start.m * to_end.m) * (factor * exp2_of_whole(n))).v;
      };
      T of_blank(0);
      for_pairs([&](Index j) {
        const Reached<N> sums =
            reach(shared_.blanks().at(j), from.at(j), from.at(j + 1), N(same(j) ? T(1) : T(0)));
        of_blank += occupancy(blank_alphas(t).at(j), sums.blank);
        shared_.blanks().put(j, sums.blank * y_blank);
        if (j == 0) return;
        occupied[j] = occupancy(label_alphas(t).at(j), sums.label);
        to.put(j, sums.label * scaled_exponential(x[shared_.classes()[j]] - most));
      });
      of_blank = lanes_sum(of_blank);
      if (threadIdx.x % 32 == 0) of_warps[t % 2][threadIdx.x / 32] = of_blank;
      if (t % CtcTraits::normal_steps == CtcTraits::normal_steps - 1) base -= static_cast<Index>(shifts_[t]);
      if (t % CtcTraits::normal_steps == 0) base += static_cast<Index>(normalize(to, 0));
      __syncthreads();

      T* const dx = gradient_of(t);
      for (Index j = 1 + threadIdx.x; j <= count_; j += blockDim.x) {
        if (!shared_.first()[j]) continue;
        T sum(0);
        for (int k = static_cast<int>(j); k != 0; k = shared_.next()[k]) sum += occupied[k];
        dx[shared_.classes()[j]] -= sum;
      }
      if (threadIdx.x == 0) {
        T sum(0);
        for (unsigned w = 0; w < blockDim.x / 32; ++w) sum += of_warps[t % 2][w];
        dx[p_.blank] -= sum;
      }
    }
  }

  const CtcLoss<T>& p_;
  Index b_;
  Index steps_;
  Index count_;
  T weight_;
  Shared<T> shared_;
  T* most_;
  T* shifts_;
  T* alphas_;
};

template <class T>
__global__ void __launch_bounds__(CtcTraits::most_threads) ctc_kernel(const CtcLoss<T> problem) {
  CtcBlock<T>(problem, dynamic_shared<T>()).run();
}

}  // namespace

Index ctc_scratch(Index steps, Index labels, bool gradient) { return scratch_of(steps, labels, gradient); }

template <class T>
void ctc_loss(const CtcLoss<T>& problem, int threads, cudaStream_t stream) {
  if (problem.batch == 0) return;
  // Static arrays are below 1 KiB.
  const std::size_t room = device_properties<DeviceProperties>().shared_per_block - 1024;
  const auto most = static_cast<Index>(room / Shared<T>::of_label) - 2;
  if (problem.most_labels > most) {
    throw std::invalid_argument(
        "labels: expected at most " + std::to_string(most) +
        " of a row, which a block's shared memory holds, got L=" + std::to_string(problem.most_labels));
  }
  const std::size_t bytes = static_cast<std::size_t>(problem.most_labels + 2) * Shared<T>::of_label;
  if (threads == 0) {
    // Many classes are many accesses to be on their way at once.
    const Index worth = std::max(problem.most_labels + 1, problem.classes / 2);
    threads = static_cast<int>(
        std::clamp<Index>((worth + 31) / 32 * 32, CtcTraits::least_threads, CtcTraits::most_threads));
  }
  launch({"ctc_loss", dim3(static_cast<unsigned>(problem.batch)), dim3(static_cast<unsigned>(threads)), bytes,
          stream},
         ctc_kernel<T>, problem);
}

template void ctc_loss(const CtcLoss<float>&, int, cudaStream_t);
template void ctc_loss(const CtcLoss<double>&, int, cudaStream_t);

}  // namespace fusedlstm::cuda
