// The CTC loss of a row with its gradient: softmax and the emissions of its states, step by step, then alpha,
// then beta with the gradient.
#pragma once

#include "../../math/ctc.h"
#include "../kernels.h"
#include "denormals.h"
#include "rows.h"
#include "vec_math.h"

namespace fusedlstm::FUSEDLSTM_ISA {

// Mantissas, and exponents `stride` further on.
template <class T>
[[gnu::always_inline]] inline Scaled<Vec<T>> load_scaled(const T* p, Index stride) {
  return {Vec<T>::load(p), Vec<T>::load(p + stride)};
}
template <class T>
[[gnu::always_inline]] inline void store_scaled(const Scaled<Vec<T>>& x, T* p, Index stride) {
  x.m.store(p);
  x.e.store(p + stride);
}

template <class T>
inline constexpr T lowest = -static_cast<T>(__builtin_inf());

// exp(x) for x <= 0; zero below -farthest_logit.
template <class T>
[[gnu::always_inline]] inline Scaled<Vec<T>> scaled_exponential(Vec<T> x) {
  using V = Vec<T>;
  const V least(T(-farthest_logit));
  const SplitExp<V> e = split_exp(max(least, x));
  return {where_less(x, least, V(0), V(1) + e.m),
          where_less(x, least, V(lowest<T>), e.shifted - V(FloatFormat<T>::shift))};
}

template <class T>
[[gnu::always_inline]] inline T largest(const T* x, Index count) {
  using V = Vec<T>;
  V most(lowest<T>);
  for_each_vector_in<T>({0, count}, [&](Index i, auto lanes) FUSEDLSTM_INLINE {
    most = max(most, filled_up<T>(V::load(x + i, lanes), lanes, V(lowest<T>)));
  });
  return max_of_lanes(most);
}

// The sum of exp(x - most), and its terms in `terms` unless it is null. A NaN is in the sum.
template <class T>
[[gnu::always_inline]] inline T exponentials(const T* x, T most, Index count, T* terms) {
  using V = Vec<T>;
  const V reach(-ExpTraits<T>::reach);
  V sum(0);
  for_each_vector_in<T>({0, count}, [&](Index i, auto lanes) FUSEDLSTM_INLINE {
    const V d = filled_up<T>(V::load(x + i, lanes) - V(most), lanes, V(lowest<T>));
    const V term = where_less(d, reach, V(0), split_exp(max(reach, d)).exp());
    sum = sum + term;
    if (terms != nullptr) term.store(terms + i, lanes);
  });
  return sum_of_lanes(sum);
}

template <class T>
[[gnu::always_inline]] inline void scale(T* x, T factor, Index count) {
  for_each_vector_in<T>({0, count}, [&](Index i, auto lanes) FUSEDLSTM_INLINE {
    (Vec<T>::load(x + i, lanes) * Vec<T>(factor)).store(x + i, lanes);
  });
}

// One row of the batch. Label j lies at j + 1 of its pieces, so that a zero is before it.
template <class T>
class CtcRow {
 public:
  using V = Vec<T>;

  CtcRow(const CtcProblem<T>& problem, Index row, T* scratch)
      : p_(problem),
        b_(row),
        labels_(problem.labels + row * problem.most_labels),
        size_{problem.logit_lengths[row], problem.label_lengths[row], problem.dlogits != nullptr, V::width},
        weight_(problem.weights != nullptr ? problem.weights[row] : T(1)),
        alphas_(scratch),
        emissions_(alphas_ + size_.alphas() * CtcScratch::of_states * size_.stride()),
        z_(emissions_ + size_.steps * 2 * size_.stride()),
        same_(z_ + CtcScratch::of_states * size_.stride()),
        logits_(same_ + size_.stride()),
        occupied_(logits_ + size_.stride()),
        blanks_(occupied_ + size_.stride()) {}

  // Returns early if the worker is stopped.
  void run(Worker& worker) {
    const double impossible = p_.zero_infinity ? 0.0 : __builtin_inf();
    if (least_steps(labels_, size_.labels) > size_.steps) return finish(impossible, T(0), 0);
    const double sums = emit(worker);
    const Scaled<double> whole = forward(worker);
    if (worker.stopped(0)) return;
    if (whole.m != whole.m || sums != sums) {
      const double nan = __builtin_nan("");
      return finish(nan, static_cast<T>(nan), 0);
    }
    if (whole.e == -__builtin_inf()) return finish(impossible, T(0), 0);
    constexpr double ln2 = 0.693147180559945309417;
    const double loss = sums - (__builtin_log(whole.m) + whole.e * ln2);
    if (size_.gradient) backward(whole, worker);
    // Rounding may leave it below zero.
    finish(loss > 0.0 ? loss : 0.0, T(0), size_.steps);
  }

 private:
  // The loss; the gradient of steps from `from` on, which is `gradient` of real ones.
  void finish(double loss, T gradient, Index from) {
    p_.losses[b_] = static_cast<T>(loss);
    if (!size_.gradient) return;
    for (Index t = from; t < p_.steps; ++t) {
      const V value(t < size_.steps ? gradient : T(0));
      T* dx = gradient_of(t);
      for_each_vector_in<T>({0, p_.classes},
                            [&](Index i, auto lanes) FUSEDLSTM_INLINE { value.store(dx + i, lanes); });
    }
  }

  T* gradient_of(Index t) const { return p_.dlogits + (b_ * p_.steps + t) * p_.classes; }
  Index states() const { return CtcScratch::of_states * size_.stride(); }
  T* alpha(Index t) const { return alphas_ + (size_.gradient ? t + 1 : (t + 1) % 2) * states(); }
  T* emission(Index t) const { return emissions_ + t * 2 * size_.stride(); }

  // The softmax, which is the gradient where no label is, and exp(logit - largest) of the row's classes.
  // Returns the logarithm of the product of softmax's sums.
  double emit(Worker& worker) {
    const Index stride = size_.stride();
    const Index labels = size_.labels;
    for (Index j = 0; j < stride; ++j) {
      logits_[j] = lowest<T>;
      same_[j] = j > 0 && j < labels && labels_[j] == labels_[j - 1] ? T(1) : T(0);
    }
    double product = 1.0;
    double logs = 0.0;
    for (Index t = 0; t < size_.steps; ++t) {
      const T* x = p_.logits.at(b_, t);
      T* dx = size_.gradient ? gradient_of(t) : nullptr;
      const T most = largest(x, p_.classes);
      const T sum = exponentials(x, most, p_.classes, dx);
      if (dx != nullptr) scale(dx, weight_ / sum, p_.classes);
      product *= sum;
      if (product > 1e200) {
        logs += __builtin_log(product);
        product = 1.0;
      }

      for (Index j = 0; j < labels; ++j) logits_[j + 1] = x[labels_[j]];
      logits_[labels + 1] = x[p_.blank];
      T* y = emission(t);
      for (Index j = 0; j < labels + 2; j += V::width) {
        store_scaled(scaled_exponential(V::load(logits_ + j) - V(most)), y + j, stride);
      }
      T* blank = blanks_ + t * CtcScratch::of_step;
      blank[0] = y[labels + 1];
      blank[1] = y[labels + 1 + stride];
      y[labels + 1 + stride] = lowest<T>;
      if (worker.stopped(20 * (p_.classes + stride))) break;
    }
    return logs + __builtin_log(product);
  }

  // All states zero but one blank.
  void begin(T* states, Index one) const {
    const Index stride = size_.stride();
    for (Index j = 0; j < stride; ++j) {
      states[j] = states[2 * stride + j] = T(0);
      states[stride + j] = states[3 * stride + j] = lowest<T>;
    }
    states[2 * stride + one] = T(1);
    states[3 * stride + one] = T(0);
  }

  Scaled<V> blank_at(Index t) const {
    const T* blank = blanks_ + t * CtcScratch::of_step;
    return {V(blank[0]), V(blank[1])};
  }

  // Behind the last pair of states; the labels' pieces hold one more.
  Index end() const { return size_.vectors() * V::width; }

  // Normalizes the mantissas, and takes the largest exponent off all of them, which is returned.
  T normalize(T* states) const {
    const Index stride = size_.stride();
    V most(lowest<T>);
    for (Index part = 0; part < 2; ++part) {
      for (Index j = 0; j < end(); j += V::width) {
        T* at = states + 2 * part * stride + j;
        Scaled<V> x = load_scaled(at, stride);
        const V power = power_of(x.m);
        x.m = x.m * exp2_of_whole(V(0) - power);
        x.e = where_less(V(0), x.m, x.e + power, V(lowest<T>));
        most = max(most, x.e);
        store_scaled(x, at, stride);
      }
    }
    const T shift = max_of_lanes(most);
    if (!(shift > lowest<T>)) return T(0);
    for (Index part = 0; part < 2; ++part) {
      for (Index j = 0; j < end(); j += V::width) {
        T* at = states + (2 * part + 1) * stride + j;
        (V::load(at) - V(shift)).store(at);
      }
    }
    return shift;
  }

  // The row's probability, without the sums of softmax.
  Scaled<double> forward(Worker& worker) {
    const Index stride = size_.stride();
    begin(alpha(-1), 0);
    double base = 0.0;
    for (Index t = 0; t < size_.steps; ++t) {
      const T* from = alpha(t - 1);
      T* to = alpha(t);
      const T* y = emission(t) + 1;
      const Scaled<V> y_blank = blank_at(t);
      to[0] = T(0);
      to[stride] = lowest<T>;
      for (Index j = 0; j < end(); j += V::width) {
        const Reached<V> sums =
            reach(load_scaled(from + 2 * stride + j, stride), load_scaled(from + 1 + j, stride),
                  load_scaled(from + j, stride), V::load(same_ + j));
        store_scaled(sums.blank * y_blank, to + 2 * stride + j, stride);
        store_scaled(sums.label * load_scaled(y + j, stride), to + 1 + j, stride);
      }
      T& shift = blanks_[t * CtcScratch::of_step + 2];
      shift = T(0);
      if (t % normal_steps != normal_steps - 1) continue;
      shift = normalize(to);
      base += shift;
      if (worker.stopped(normal_steps * 20 * stride)) break;
    }
    const T* last = alpha(size_.steps - 1);
    const Index L = size_.labels;
    const double blank_e = last[3 * stride + L];
    const double label_e = last[stride + L];
    const double e = blank_e > label_e ? blank_e : label_e;
    if (e == -__builtin_inf()) return {0.0, e};
    return {last[2 * stride + L] * power(blank_e - e) + last[L] * power(label_e - e), base + e};
  }

  static double power(double n) { return n < -1000.0 ? 0.0 : __builtin_exp2(n); }

  void backward(const Scaled<double>& whole, Worker& worker) {
    const Index stride = size_.stride();
    begin(z_, size_.labels);
    const V factor(static_cast<T>(weight_ / whole.m));
    double base = -whole.e;
    for (Index t = 0; t < size_.steps; ++t) base += blanks_[t * CtcScratch::of_step + 2];
    for (Index t = size_.steps - 1; t >= 0; --t) {
      const T* along = alpha(t);
      const T* y = emission(t);
      const Scaled<V> y_blank = blank_at(t);
      const V offset(static_cast<T>(base));
      const auto occupancy = [&](const Scaled<V>& from_start, const Scaled<V>& to_end) FUSEDLSTM_INLINE {
        const V n = max((from_start.e + to_end.e) + offset, V(T(-least_power)));
        return (from_start.m * to_end.m) * (factor * exp2_of_whole(n));
      };
      V of_blank(0);
      for (Index j = 0; j < end(); j += V::width) {
        T* blank = z_ + 2 * stride + j;
        T* label = z_ + j;
        const Reached<V> sums = reach(load_scaled(blank, stride), load_scaled(label, stride),
                                      load_scaled(label + 1, stride), V::load(same_ + j));
        of_blank = of_blank + occupancy(load_scaled(along + 2 * stride + j, stride), sums.blank);
        occupancy(load_scaled(along + j, stride), sums.label).store(occupied_ + j);
        store_scaled(sums.blank * y_blank, blank, stride);
        store_scaled(sums.label * load_scaled(y + j, stride), label, stride);
      }
      T* dx = gradient_of(t);
      dx[p_.blank] -= sum_of_lanes(of_blank);
      for (Index j = 0; j < size_.labels; ++j) dx[labels_[j]] -= occupied_[j + 1];
      base -= blanks_[t * CtcScratch::of_step + 2];
      if (t % normal_steps != 0) continue;
      base += normalize(z_);
      if (worker.stopped(normal_steps * 30 * stride)) return;
    }
  }

  // A mantissa grows by less than 2^3 a step, and alpha's times beta's is a number.
  static constexpr Index normal_steps = 8;

  const CtcProblem<T>& p_;
  Index b_;
  const Index* labels_;
  CtcScratch size_;
  T weight_;
  T* alphas_;
  T* emissions_;
  T* z_;
  T* same_;
  T* logits_;
  T* occupied_;
  T* blanks_;
};

template <class T>
void ctc(const CtcProblem<T>& p, Index row, T* scratch, Worker& worker) {
  const FlushDenormals flush;
  CtcRow<T>(p, row, scratch).run(worker);
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
