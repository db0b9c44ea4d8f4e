// The optimizers' updates of one element, or of a vector of them, on any number type `V` that has arithmetic
// operators, min, max and sqrt. They are the formulas of Keras 3's optimizers, which are those of the papers
// they cite: momentum (Polyak 1964, Nesterov 1983), RMSprop (Hinton 2012), Adam (Kingma and Ba 2014), AdamW
// (Loshchilov and Hutter 2017).
#pragma once

#include <cmath>
#include <cstdint>

#include "../inline.h"

namespace fusedlstm {

// Settings of all updates, before they are rounded to an array's number type.
struct UpdateSettings {
  double learning_rate;
  double weight_decay;
  double clip;  // infinity for none
  double scale;
};

template <class T>
struct UpdateRule {
  T learning_rate;
  T decay;  // learning_rate * weight_decay, 0 for none
  T clip;
  T scale;

  explicit UpdateRule(const UpdateSettings& settings)
      : learning_rate(static_cast<T>(settings.learning_rate)),
        decay(static_cast<T>(settings.learning_rate * settings.weight_decay)),
        clip(static_cast<T>(settings.clip)),
        scale(static_cast<T>(settings.scale)) {}

  // The gradient as the rule sees it, and the parameter after decoupled weight decay.
  template <class V>
  FUSEDLSTM_INLINE V clipped(V gradient) const {
    return min(V(clip), max(V(-clip), gradient)) * V(scale);
  }
  template <class V>
  FUSEDLSTM_INLINE V decayed(V param) const {
    return param - param * V(decay);
  }
};

template <class T>
struct SgdRule : UpdateRule<T> {
  T momentum;
  bool nesterov;

  SgdRule(const UpdateSettings& settings, double given_momentum, bool given_nesterov)
      : UpdateRule<T>(settings), momentum(static_cast<T>(given_momentum)), nesterov(given_nesterov) {}

  template <class V>
  FUSEDLSTM_INLINE void apply(V& param, V gradient, bool has_velocity, V& velocity) const {
    const V p = this->decayed(param);
    const V step = V(this->learning_rate) * this->clipped(gradient);
    if (!has_velocity) {
      param = p - step;
      return;
    }
    velocity = V(momentum) * velocity - step;
    param = nesterov ? p + (V(momentum) * velocity - step) : p + velocity;
  }
};

template <class T>
struct RmspropRule : UpdateRule<T> {
  T rho;
  T rest;  // 1 - rho, before it was rounded to T
  T momentum;
  T epsilon;

  RmspropRule(const UpdateSettings& settings, double given_rho, double given_momentum, double given_epsilon)
      : UpdateRule<T>(settings),
        rho(static_cast<T>(given_rho)),
        rest(static_cast<T>(1.0 - given_rho)),
        momentum(static_cast<T>(given_momentum)),
        epsilon(static_cast<T>(given_epsilon)) {}

  template <class V>
  FUSEDLSTM_INLINE void apply(V& param, V gradient, V& square, bool has_mean, V& mean, bool has_velocity,
                              V& velocity) const {
    const V p = this->decayed(param);
    const V g = this->clipped(gradient);
    square = V(rho) * square + V(rest) * g * g;
    V variance = square;
    if (has_mean) {
      mean = V(rho) * mean + V(rest) * g;
      variance = square - mean * mean;
    }
    V step = V(this->learning_rate) * g / sqrt(variance + V(epsilon));
    if (has_velocity) {
      velocity = V(momentum) * velocity + step;
      step = velocity;
    }
    param = p - step;
  }
};

template <class T>
struct AdamRule : UpdateRule<T> {
  T rest_1;  // 1 - beta_1 and 1 - beta_2, before those were rounded to T
  T rest_2;
  T epsilon;

  AdamRule(const UpdateSettings& settings, std::int64_t step, double beta_1, double beta_2,
           double given_epsilon)
      : UpdateRule<T>(settings),
        rest_1(static_cast<T>(1.0 - beta_1)),
        rest_2(static_cast<T>(1.0 - beta_2)),
        epsilon(static_cast<T>(given_epsilon)) {
    const double t = static_cast<double>(step);
    const double correction = std::sqrt(1.0 - std::pow(beta_2, t)) / (1.0 - std::pow(beta_1, t));
    this->learning_rate = static_cast<T>(settings.learning_rate * correction);
  }

  template <class V>
  FUSEDLSTM_INLINE void apply(V& param, V gradient, V& m, V& v, bool has_largest, V& largest) const {
    const V p = this->decayed(param);
    const V g = this->clipped(gradient);
    m = m + (g - m) * V(rest_1);
    v = v + (g * g - v) * V(rest_2);
    if (has_largest) largest = max(largest, v);
    param = p - V(this->learning_rate) * m / (sqrt(has_largest ? largest : v) + V(epsilon));
  }
};

}  // namespace fusedlstm
