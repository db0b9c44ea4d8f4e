// What passes over a sequence leave for those that come after them.
#pragma once

#include <algorithm>

#include "../cpu/checkpoint.h"
#include "../cpu/norm_memory.h"
#include "cell_options.h"
#include "real_steps.h"
#include "weights.h"

namespace fusedlstm::bindings {

// What forward leaves for backward: gates and cells of all steps, or checkpoints.
template <class T>
struct TapeMemory {
  Panels<T> panels;
  Buffer<T> gates;
  Buffer<T> cells;
  Buffer<T> m;        // (T,B,H) what was projected, where there is a projection
  Buffer<T> dropped;  // (B,T,R) what the recurrent product read, where there is a recurrent mask
  NormTapeMemory<T> norm;
  std::unique_ptr<Checkpoints<T>> checkpoints;
};

// A tape, passes over it that run, and gradients' tapes share it. A backward pass that is alone with the tape
// overwrites its gates.
template <class T>
using TapeShare = std::shared_ptr<TapeMemory<T>>;

struct Tape {
  Number number;
  Sizes sizes;
  const char* outputs_letter;
  bool go_backwards;
  bool use_bias;
  Held x;
  Held y;   // none with checkpoints
  Held h0;  // none for zeros
  RealSteps real;
  GivenOptions options;
  Held recurrent_mask;  // (B,R) or none
  std::variant<TapeShare<float>, TapeShare<double>> memory;
  Index bytes;
  bool used = false;

  void check_unused() const {
    if (used) {
      throw std::runtime_error("tape: expected one that no backward pass has used yet, got a used one");
    }
  }
  // Of what second derivatives do not have.
  void check_differentiable() const {
    const auto refuse = [](bool there, const std::string& what) {
      if (there) raise_value("tape", "one without " + what + " for second derivatives", "one with " + what);
    };
    refuse(!y, "checkpoints");
    refuse(std::visit([](const auto& own) { return own->panels->projects(); }, memory), "a projection");
    refuse(options.has_zoneout(), "zoneout");
    refuse(options.has_layer_norm(), "layer normalization");
  }
};

// What a backward pass leaves for second derivatives.
template <class T>
struct GradientMemory {
  Buffer<T> gates;  // gradients of the gates, as a gates' tape
  Buffer<T> dh;     // (T,B,H)
  Buffer<T> dc;     // (T,B,H)
};

template <class T>
using GradientShare = std::shared_ptr<const GradientMemory<T>>;

struct GradientTape {
  Tape forward;
  std::variant<GradientShare<float>, GradientShare<double>> memory;
  Index bytes;
};

template <class T>
Index gate_tape_size(const LstmPanels<T>& panels, const Sizes& n) {
  return panels.gate_panels() * GateTape(n.steps, n.batch, panels.width()).panel_size();
}

// States h (B,R) and c (B,H) after each row's last real step; c only where it is not null.
template <class T>
void copy_last_states(const ForwardProblem<T>& p, T* h, T* c) {
  const Index H = p.sizes.units;
  const Index R = p.sizes.outputs;
  for (Index b = 0; b < p.sizes.batch; ++b) {
    const Index length = p.timeline.length(b);
    const T* source = length > 0 ? p.hidden(b, length - 1) : p.h0 != nullptr ? p.h0 + b * R : nullptr;
    if (source != nullptr) {
      std::copy_n(source, R, h + b * R);
    } else {
      std::fill_n(h + b * R, R, T(0));
    }
    if (c != nullptr) std::copy_n(p.cells + length * p.cells_step + b * H, H, c + b * H);
  }
}

template <class T>
Sequence<const T> sequence_of(const Held& array, bool backwards) {
  Sequence<const T> view{data_of<T>(array), stride_of<T>(array, 0), stride_of<T>(array, 1)};
  if (backwards && array.shape(1) > 0) {
    view.data += (array.shape(1) - 1) * view.step;
    view.step = -view.step;
  }
  return view;
}

}  // namespace fusedlstm::bindings
