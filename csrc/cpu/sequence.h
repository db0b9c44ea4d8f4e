// The LSTM over whole sequences, forward and backward, and a step at a time: fusedlstm.ops for C++ programs,
// of which tests/cpp/train.cpp is one. The letters and layouts are those of ../lstm.h.
//
//   const auto weights = std::make_shared<const LstmPanels<float>>(I, H, H, source, Storage::full);
//   Tape<float> tape;
//   lstm_forward<float>(weights, {.batch = B, .steps = T, .x = {x, T * I, I}}, {y, h, c}, &tape);
//   lstm_backward<float>(tape, {.dy = {dy, T * H, H}}, gradients);
//
// Arrays are the caller's, in C order unless they are Sequences, which may have any strides; negative ones
// walk x and dx backwards. Everything else is allocated here: tapes, checkpoints and scratch. Calls use the
// instruction set and as many threads as dispatch.h and team.h say; their results have the same bits for any
// number of them.
//
// Errors come before work: std::invalid_argument for arguments that do not fit, std::runtime_error for a tape
// that has been used, and std::bad_alloc. Sizes alone are the caller's to check, by products_fit of
// checked.h. Beside an Interruptible (interrupt.h) of the calling thread, calls may end early; their results
// are then of no use.
#pragma once

#include <memory>
#include <optional>

#include "checkpoint.h"
#include "norm_memory.h"
#include "real_steps.h"

namespace fusedlstm {

// Weights, which tapes share: a tape keeps those that its forward pass used.
template <class T>
using Panels = std::shared_ptr<const LstmPanels<T>>;

template <class T>
struct LstmArguments {
  Index batch;
  Index steps;
  Sequence<const T> x;                       // (B,T,I)
  const T* h0 = nullptr;                     // (B,R), or null for zeros
  const T* c0 = nullptr;                     // (B,H), or null for zeros
  RealSteps real = {};                       // of x in the order in which it is walked
  const CellOptions<T>* options = nullptr;   // or null for the plain cell
  const LayerNorm<T>* layer_norm = nullptr;  // or null
  const T* recurrent_mask = nullptr;         // (B,R) factors of h on its way into the next step, or null
};

// Results of a forward pass, or their tangents.
template <class T>
struct LstmResults {
  T* y;  // (B,T,R), or null when not wanted
  T* h;  // (B,R) after each row's last real step
  T* c;  // (B,H)
};

// The memory of a tape: gates and cells of all steps, as problem.h describes them, or checkpoints.
template <class T>
struct TapeMemory {
  TapeMemory(Panels<T> weights, const Sizes& n, const LstmArguments<T>& arguments, bool keeps_y,
             Index checkpoint_every);

  Panels<T> panels;
  Buffer<T> gates;
  Buffer<T> cells;
  Buffer<T> y;        // (B,T,R) where the caller does not want it
  Buffer<T> m;        // (T,B,H) what was projected, where there is a projection
  Buffer<T> dropped;  // (B,T,R) what the recurrent product read, where there is a recurrent mask
  NormTapeMemory<T> norm;
  std::unique_ptr<Checkpoints<T>> checkpoints;
  // Copies: peepholes, and the parameters of layer normalization.
  Buffer<T> parameters;
  std::optional<CellOptions<T>> options;
  std::optional<LayerNorm<T>> layer_norm;
  Index bytes = 0;  // of the tape, without y and copies
};

// A forward pass's tape, for backward: a value, whose copies share their memory. x, h0, y and the recurrent
// mask are still the caller's, and must neither move nor change while there are copies.
template <class T>
struct Tape {
  ForwardProblem<T> problem{};  // as forward ran it; states only without checkpoints
  RealSteps real;
  std::shared_ptr<TapeMemory<T>> memory;  // none in a used tape

  bool has_peepholes() const { return problem.options != nullptr && problem.options->peepholes != nullptr; }
  void check_unused() const;          // std::runtime_error
  void check_differentiable() const;  // std::invalid_argument for cells without second derivatives
};

// Gradients of a call's results: null for zeros.
template <class T>
struct ResultGradients {
  Sequence<const T> dy = {};  // (B,T,R)
  const T* dh = nullptr;      // (B,R)
  const T* dc = nullptr;      // (B,H)
};

// A backward pass's tape, for second derivatives.
template <class T>
struct GradientTape {
  struct Memory {
    Buffer<T> gates;  // gradients of the gates, as a gates' tape
    Buffer<T> dh;     // (T,B,H)
    Buffer<T> dc;     // (T,B,H)
    Index bytes = 0;
  };
  Tape<T> forward;
  std::shared_ptr<const Memory> memory;
};

// Fills the tape, unless it is null; with `checkpoint_every`, only with the states before every so many
// steps, from which backward runs the forward pass again.
template <class T>
KernelRun lstm_forward(const Panels<T>& weights, const LstmArguments<T>& arguments,
                       const LstmResults<T>& results, Tape<T>* tape = nullptr, Index checkpoint_every = 0);

// Uses up the tape: a pass that has the only copy overwrites its gates. With `kept`, fills that, and leaves
// the tape as it is. So does running out of memory.
template <class T>
KernelRun lstm_backward(Tape<T>& tape, const ResultGradients<T>& outer, const ArgumentGradients<T>& gradients,
                        GradientTape<T>* kept = nullptr);

// Values of every step, in processing order: null for those that are not wanted.
template <class T>
struct StepValues {
  T* h;      // (B,T,R) and
  T* c;      // (B,T,H): where no step is real, the states that pass it
  T* gates;  // (B,T,G) activated; NaN where no step is real. The tape of a layer-normalized cell has none
};

// Reads them from a tape, which stays as it is. Throws std::invalid_argument for one with checkpoints, and
// for gates of a layer-normalized cell.
template <class T>
void read_tape(const Tape<T>& tape, const StepValues<T>& values);

// One step, with the bits that it has in a sequence, of arguments with one step and all states; there are no
// real steps and no recurrent mask. h_out may be h0, and c_out c0. A step that an Interruptible ends writes
// nothing, and throws Interrupted.
template <class T>
KernelRun lstm_step(const LstmPanels<T>& weights, const LstmArguments<T>& arguments, T* h_out, T* c_out);

// For options, of which a pointer says whether there are any.
template <class T>
const T* address_of(const std::optional<T>& value) {
  return value ? &*value : nullptr;
}

// Elements of a gates' tape.
template <class T>
Index gate_tape_size(const LstmPanels<T>& panels, const Sizes& n) {
  return panels.gate_panels() * GateTape(n.steps, n.batch, panels.width()).panel_size();
}

// States h (B,R) and c (B,H) after each row's last real step; c only where it is not null.
template <class T>
void copy_last_states(const ForwardProblem<T>& p, T* h, T* c);

}  // namespace fusedlstm
