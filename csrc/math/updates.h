// The optimizers' updates of one element, or of a vector of them, on any number type `V` that has arithmetic
// operators, abs, min, max and sqrt. They are the formulas of Keras 3's optimizers, which are those of the
// papers they cite: momentum (Polyak 1964, Nesterov 1983), RMSprop (Hinton 2012), Adam and Adamax (Kingma and
// Ba 2014), AdamW (Loshchilov and Hutter 2017), Nadam (Dozat 2015), Adagrad (Duchi et al. 2011), Adadelta
// (Zeiler 2012), Lion (Chen et al. 2023).
//
// A rule has a name, counts of its slots, which are arrays beside the parameter, and of its numbers, and
// apply(param, gradient, has, slot), where `has` tells which slots are there: what optional ones are without.
// Adding a rule to `UpdateRules` at the end makes it known to all devices.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "../inline.h"

namespace fusedlstm {

// Settings of all updates, before they are rounded to an array's number type.
struct UpdateSettings {
  double learning_rate;
  double weight_decay;
  double clip;  // infinity for none
  double scale;
  double ema_momentum = 0.0;
  bool ema_overwrites = false;  // the parameter, by its average
};

template <class T>
struct UpdateRule {
  T learning_rate;
  T decay;  // learning_rate * weight_decay, 0 for none
  T clip;
  T scale;
  T ema_momentum;
  bool ema_overwrites;

  explicit UpdateRule(const UpdateSettings& settings)
      : learning_rate(static_cast<T>(settings.learning_rate)),
        decay(static_cast<T>(settings.learning_rate * settings.weight_decay)),
        clip(static_cast<T>(settings.clip)),
        scale(static_cast<T>(settings.scale)),
        ema_momentum(static_cast<T>(settings.ema_momentum)),
        ema_overwrites(settings.ema_overwrites) {}

  // The gradient as the rule sees it, and the parameter after decoupled weight decay.
  template <class V>
  FUSEDLSTM_INLINE V clipped(V gradient) const {
    return min(V(clip), max(V(-clip), gradient)) * V(scale);
  }
  template <class V>
  FUSEDLSTM_INLINE V decayed(V param) const {
    return param - param * V(decay);
  }

  // The moving average of the updated parameter.
  template <class V>
  FUSEDLSTM_INLINE void average(V& param, V& mean) const {
    mean = V(ema_momentum) * mean + V(T(1) - ema_momentum) * param;
    if (ema_overwrites) param = mean;
  }
};

template <class T>
struct SgdRule : UpdateRule<T> {
  static constexpr const char* name = "sgd_update";
  static constexpr int slots = 1;  // velocity, optional
  static constexpr int numbers = 2;
  T momentum;
  bool nesterov;

  SgdRule(const UpdateSettings& settings, double given_momentum, double given_nesterov)
      : UpdateRule<T>(settings), momentum(static_cast<T>(given_momentum)), nesterov(given_nesterov != 0.0) {}

  template <class V>
  FUSEDLSTM_INLINE void apply(V& param, V gradient, const bool* has, V* slot) const {
    V& velocity = slot[0];
    const V p = this->decayed(param);
    const V step = V(this->learning_rate) * this->clipped(gradient);
    if (!has[0]) {
      param = p - step;
      return;
    }
    velocity = V(momentum) * velocity - step;
    param = nesterov ? p + (V(momentum) * velocity - step) : p + velocity;
  }
};

template <class T>
struct RmspropRule : UpdateRule<T> {
  static constexpr const char* name = "rmsprop_update";
  static constexpr int slots = 3;  // mean square, mean and velocity, optional the latter two
  static constexpr int numbers = 3;
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
  FUSEDLSTM_INLINE void apply(V& param, V gradient, const bool* has, V* slot) const {
    V& square = slot[0];
    V& mean = slot[1];
    V& velocity = slot[2];
    const V p = this->decayed(param);
    const V g = this->clipped(gradient);
    square = V(rho) * square + V(rest) * g * g;
    V variance = square;
    if (has[1]) {
      mean = V(rho) * mean + V(rest) * g;
      variance = square - mean * mean;
    }
    V step = V(this->learning_rate) * g / sqrt(variance + V(epsilon));
    if (has[2]) {
      velocity = V(momentum) * velocity + step;
      step = velocity;
    }
    param = p - step;
  }
};

template <class T>
struct AdamRule : UpdateRule<T> {
  static constexpr const char* name = "adam_update";
  static constexpr int slots = 3;  // m, v and the largest v, which is optional
  static constexpr int numbers = 4;
  T rest_1;  // 1 - beta_1 and 1 - beta_2, before those were rounded to T
  T rest_2;
  T epsilon;

  AdamRule(const UpdateSettings& settings, double step, double beta_1, double beta_2, double given_epsilon)
      : UpdateRule<T>(settings),
        rest_1(static_cast<T>(1.0 - beta_1)),
        rest_2(static_cast<T>(1.0 - beta_2)),
        epsilon(static_cast<T>(given_epsilon)) {
    const double correction = std::sqrt(1.0 - std::pow(beta_2, step)) / (1.0 - std::pow(beta_1, step));
    this->learning_rate = static_cast<T>(settings.learning_rate * correction);
  }

  template <class V>
  FUSEDLSTM_INLINE void apply(V& param, V gradient, const bool* has, V* slot) const {
    V& m = slot[0];
    V& v = slot[1];
    V& largest = slot[2];
    const V p = this->decayed(param);
    const V g = this->clipped(gradient);
    m = m + (g - m) * V(rest_1);
    v = v + (g * g - v) * V(rest_2);
    if (has[2]) largest = max(largest, v);
    param = p - V(this->learning_rate) * m / (sqrt(has[2] ? largest : v) + V(epsilon));
  }
};

template <class T>
struct NadamRule : UpdateRule<T> {
  static constexpr const char* name = "nadam_update";
  static constexpr int slots = 2;  // m and v
  static constexpr int numbers = 4;
  T rest_1;
  T rest_2;
  T epsilon;
  T of_mean;  // factors in the step: of m, of the gradient and, under the root, of v
  T of_gradient;
  T of_square;

  NadamRule(const UpdateSettings& settings, double step, double beta_1, double beta_2, double given_epsilon)
      : UpdateRule<T>(settings),
        rest_1(static_cast<T>(1.0 - beta_1)),
        rest_2(static_cast<T>(1.0 - beta_2)),
        epsilon(static_cast<T>(given_epsilon)),
        of_square(static_cast<T>(1.0 / (1.0 - std::pow(beta_2, step)))) {
    // The momentum of step k is beta_1 (1 - 0.96^k / 2). The second factor is 1 from k = 900 on.
    double product = std::pow(beta_1, step);
    double power = 1.0;
    for (int k = 1; k <= step && k < 900; ++k) {
      power *= 0.96;
      product *= 1.0 - 0.5 * power;
    }
    const auto momentum = [beta_1](double k) { return beta_1 * (1.0 - 0.5 * std::pow(0.96, k)); };
    const double next = momentum(step + 1.0);
    of_mean = static_cast<T>(settings.learning_rate * next / (1.0 - product * next));
    of_gradient = static_cast<T>(settings.learning_rate * (1.0 - momentum(step)) / (1.0 - product));
  }

  template <class V>
  FUSEDLSTM_INLINE void apply(V& param, V gradient, const bool*, V* slot) const {
    V& m = slot[0];
    V& v = slot[1];
    const V p = this->decayed(param);
    const V g = this->clipped(gradient);
    m = m + (g - m) * V(rest_1);
    v = v + (g * g - v) * V(rest_2);
    param = p - (V(of_mean) * m + V(of_gradient) * g) / (sqrt(V(of_square) * v) + V(epsilon));
  }
};

template <class T>
struct AdamaxRule : UpdateRule<T> {
  static constexpr const char* name = "adamax_update";
  static constexpr int slots = 2;  // m and the largest gradient
  static constexpr int numbers = 4;
  T rest_1;
  T beta_2;
  T epsilon;

  AdamaxRule(const UpdateSettings& settings, double step, double beta_1, double given_beta_2,
             double given_epsilon)
      : UpdateRule<T>(settings),
        rest_1(static_cast<T>(1.0 - beta_1)),
        beta_2(static_cast<T>(given_beta_2)),
        epsilon(static_cast<T>(given_epsilon)) {
    this->learning_rate = static_cast<T>(settings.learning_rate / (1.0 - std::pow(beta_1, step)));
  }

  template <class V>
  FUSEDLSTM_INLINE void apply(V& param, V gradient, const bool*, V* slot) const {
    V& m = slot[0];
    V& largest = slot[1];
    const V p = this->decayed(param);
    const V g = this->clipped(gradient);
    m = m + (g - m) * V(rest_1);
    largest = max(V(beta_2) * largest, abs(g));  // NaN where g is
    param = p - V(this->learning_rate) * m / (largest + V(epsilon));
  }
};

template <class T>
struct AdagradRule : UpdateRule<T> {
  static constexpr const char* name = "adagrad_update";
  static constexpr int slots = 1;  // the sum of squares
  static constexpr int numbers = 1;
  T epsilon;

  AdagradRule(const UpdateSettings& settings, double given_epsilon)
      : UpdateRule<T>(settings), epsilon(static_cast<T>(given_epsilon)) {}

  template <class V>
  FUSEDLSTM_INLINE void apply(V& param, V gradient, const bool*, V* slot) const {
    V& sum = slot[0];
    const V p = this->decayed(param);
    const V g = this->clipped(gradient);
    sum = sum + g * g;
    param = p - V(this->learning_rate) * g / sqrt(sum + V(epsilon));
  }
};

template <class T>
struct AdadeltaRule : UpdateRule<T> {
  static constexpr const char* name = "adadelta_update";
  static constexpr int slots = 2;  // mean squares of gradients and of steps
  static constexpr int numbers = 2;
  T rho;
  T rest;
  T epsilon;

  AdadeltaRule(const UpdateSettings& settings, double given_rho, double given_epsilon)
      : UpdateRule<T>(settings),
        rho(static_cast<T>(given_rho)),
        rest(static_cast<T>(1.0 - given_rho)),
        epsilon(static_cast<T>(given_epsilon)) {}

  template <class V>
  FUSEDLSTM_INLINE void apply(V& param, V gradient, const bool*, V* slot) const {
    V& square = slot[0];
    V& step_square = slot[1];
    const V p = this->decayed(param);
    const V g = this->clipped(gradient);
    square = V(rho) * square + V(rest) * g * g;
    const V step = sqrt(step_square + V(epsilon)) * g / sqrt(square + V(epsilon));
    step_square = V(rho) * step_square + V(rest) * step * step;
    param = p - V(this->learning_rate) * step;
  }
};

template <class T>
struct LionRule : UpdateRule<T> {
  static constexpr const char* name = "lion_update";
  static constexpr int slots = 1;  // momentum
  static constexpr int numbers = 2;
  T beta_1;
  T rest_1;
  T beta_2;
  T rest_2;
  // A constant of the class, since nvcc lets no device function call the standard library's.
  static constexpr T largest = std::numeric_limits<T>::max();

  LionRule(const UpdateSettings& settings, double given_beta_1, double given_beta_2)
      : UpdateRule<T>(settings),
        beta_1(static_cast<T>(given_beta_1)),
        rest_1(static_cast<T>(1.0 - given_beta_1)),
        beta_2(static_cast<T>(given_beta_2)),
        rest_2(static_cast<T>(1.0 - given_beta_2)) {}

  template <class V>
  FUSEDLSTM_INLINE void apply(V& param, V gradient, const bool*, V* slot) const {
    const T huge = largest;
    V& m = slot[0];
    const V p = this->decayed(param);
    const V g = this->clipped(gradient);
    // The sign: 0 stays 0 and NaN NaN, and every other number leaves [-1, 1], denormal ones too.
    const V direction = (V(beta_1) * m + V(rest_1) * g) * V(huge) * V(huge);
    param = p - V(this->learning_rate) * min(V(T(1)), max(V(T(-1)), direction));
    m = V(beta_2) * m + V(rest_2) * g;
  }
};

template <class... Rules>
struct RuleList {};

// All rules; what devices do for each of them is written once, for any.
template <class T>
using UpdateRules = RuleList<SgdRule<T>, RmspropRule<T>, AdamRule<T>, NadamRule<T>, AdamaxRule<T>,
                             AdagradRule<T>, AdadeltaRule<T>, LionRule<T>>;

// Updates an element: the parameter with a rule's slots, and after them its moving average where there is
// one.
template <class Rule, class V>
FUSEDLSTM_INLINE inline void apply_rule(const Rule& rule, V& param, V gradient, const bool* has, V* slot) {
  rule.apply(param, gradient, has, slot);
  if (has[Rule::slots]) rule.average(param, slot[Rule::slots]);
}

}  // namespace fusedlstm
