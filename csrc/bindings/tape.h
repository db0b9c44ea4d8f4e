// Tapes as Python has them: those of C++, and the arrays that they refer to.
#pragma once

#include <variant>

#include "../cpu/sequence.h"
#include "checks.h"

namespace fusedlstm::bindings {

// Facts and arrays of a tape of either number type.
struct TapeArrays {
  Sizes sizes;
  const char* outputs_letter;
  bool go_backwards;
  bool use_bias;
  Held x;
  Held y;   // none with checkpoints, and where the tape has its own
  Held h0;  // none for zeros
  Held recurrent_mask;
  Index bytes = 0;
};

struct TapeObject {
  TapeArrays arrays;
  std::variant<Tape<float>, Tape<double>> tape;

  Number number() const { return tape.index() == 0 ? Number::f32 : Number::f64; }
  bool used() const {
    return std::visit([](const auto& value) { return value.memory == nullptr; }, tape);
  }
  void check_unused() const {
    std::visit([](const auto& value) { value.check_unused(); }, tape);
  }
  void check_differentiable() const {
    std::visit([](const auto& value) { value.check_differentiable(); }, tape);
  }
};

struct GradientTapeObject {
  TapeArrays arrays;
  std::variant<GradientTape<float>, GradientTape<double>> tape;
  Index bytes = 0;
};

}  // namespace fusedlstm::bindings
