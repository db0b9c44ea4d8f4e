#include "sequence.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#include "interrupt.h"

namespace fusedlstm {
namespace {

template <class T>
void copy_or_zero(const T* source, Index count, T* target) {
  if (source != nullptr) {
    std::copy_n(source, count, target);
  } else {
    std::fill_n(target, count, T(0));
  }
}

}  // namespace

template <class T>
TapeMemory<T>::TapeMemory(Panels<T> weights, const Sizes& n, const LstmArguments<T>& arguments, bool keeps_y,
                          Index checkpoint_every)
    : panels(std::move(weights)) {
  if (arguments.options != nullptr) options = *arguments.options;
  if (arguments.layer_norm != nullptr) layer_norm = *arguments.layer_norm;
  if (options || layer_norm) parameters = Buffer<T>((2 * kGates + 5) * n.units);
  auto copy = [place = parameters.data()](const T*& array, Index count) mutable {
    if (array != nullptr) place = std::copy_n(std::exchange(array, place), count, place);
  };
  if (options) copy(options->peepholes, 3 * n.units);
  if (layer_norm) {
    copy(layer_norm->gamma_input, kGates * n.units);
    copy(layer_norm->gamma_recurrent, kGates * n.units);
    copy(layer_norm->gamma_cell, n.units);
    copy(layer_norm->beta_cell, n.units);
  }
  if (checkpoint_every > 0) {
    checkpoints = std::make_unique<Checkpoints<T>>(*panels, n, checkpoint_every);
    bytes = checkpoints->bytes();
    return;
  }
  const Index states = n.batch * n.units;
  const Index outputs = n.batch * n.outputs;
  const auto make = [&](bool wanted, Index size) {
    if (!wanted) return Buffer<T>();
    bytes += size * Index{sizeof(T)};
    return Buffer<T>(size);
  };
  gates = make(true, gate_tape_size(*panels, n));
  cells = make(true, (n.steps + 1) * states);
  m = make(panels->projects(), n.steps * states);
  dropped = make(arguments.recurrent_mask != nullptr, n.steps * outputs);
  norm = NormTapeMemory<T>(layer_norm.has_value(), n.steps, n.batch, panels->gate_panels(), panels->width());
  bytes += norm.size() * Index{sizeof(T)};
  if (keeps_y) y = Buffer<T>(n.steps * outputs);
}

template <class T>
void Tape<T>::check_unused() const {
  if (memory != nullptr) return;
  throw std::runtime_error("tape: expected one that no backward pass has used yet, got a used one");
}

template <class T>
void Tape<T>::check_differentiable() const {
  const auto refuse = [](bool there, const std::string& what) {
    if (!there) return;
    throw std::invalid_argument("tape: expected one without " + what +
                                " for second derivatives, got one with " + what);
  };
  refuse(memory->checkpoints != nullptr, "checkpoints");
  refuse(memory->panels->storage() == Storage::operands, "products of bfloat16");
  refuse(memory->panels->projects(), "a projection");
  refuse(memory->options && (memory->options->zoneout.h > 0 || memory->options->zoneout.c > 0), "zoneout");
  refuse(memory->layer_norm.has_value(), "layer normalization");
}

template <class T>
void copy_last_states(const ForwardProblem<T>& p, T* h, T* c) {
  const Index H = p.sizes.units;
  const Index R = p.sizes.outputs;
  for (Index b = 0; b < p.sizes.batch; ++b) {
    const Index length = p.timeline.length(b);
    const T* source = length > 0 ? p.hidden(b, length - 1) : p.h0 != nullptr ? p.h0 + b * R : nullptr;
    copy_or_zero(source, R, h + b * R);
    if (c != nullptr) std::copy_n(p.cells + length * p.cells_step + b * H, H, c + b * H);
  }
}

template <class T>
KernelRun lstm_forward(const Panels<T>& weights, const LstmArguments<T>& arguments,
                       const LstmResults<T>& results, Tape<T>* tape, Index checkpoint_every) {
  const LstmPanels<T>& panels = *weights;
  if (tape != nullptr && !panels.can_train()) {
    throw std::invalid_argument("weights: expected full storage, or compute='bfloat16', for training, got " +
                                std::string(name_of(panels.storage())));
  }
  if (checkpoint_every < 0) {
    throw std::invalid_argument("checkpoint_every: expected 0 or a positive number of steps, got " +
                                std::to_string(checkpoint_every));
  }
  const Sizes n{arguments.batch, arguments.steps, panels.inputs(), panels.units(), panels.outputs()};
  const Index states = n.batch * n.units;
  const Index outputs = n.batch * n.outputs;
  const bool dropping = arguments.recurrent_mask != nullptr;
  const std::shared_ptr<TapeMemory<T>> memory =
      tape == nullptr
          ? nullptr
          : std::make_shared<TapeMemory<T>>(weights, n, arguments, results.y == nullptr, checkpoint_every);
  const bool all_kept = memory != nullptr && memory->checkpoints == nullptr;
  T* const y = results.y == nullptr && all_kept ? memory->y.data() : results.y;
  const Buffer<T> two_hidden = y == nullptr ? Buffer<T>(2 * outputs) : Buffer<T>();
  const Buffer<T> one_m = panels.projects() && !all_kept ? Buffer<T>(states) : Buffer<T>();
  const Buffer<T> two_dropped = dropping && !all_kept ? Buffer<T>(2 * outputs) : Buffer<T>();

  ForwardProblem<T> p{};
  p.sizes = n;
  p.timeline = arguments.real.timeline(n.steps);
  p.x = arguments.x;
  p.h0 = arguments.h0;
  p.options = memory != nullptr ? address_of(memory->options) : arguments.options;
  p.layer_norm = memory != nullptr ? address_of(memory->layer_norm) : arguments.layer_norm;
  p.recurrent_mask = arguments.recurrent_mask;
  if (y != nullptr) {
    p.h = {{y, n.steps * n.outputs, n.outputs}, Slots::times};
  } else {
    p.h = {{two_hidden.data(), n.outputs, outputs}, Slots::two};
  }
  if (all_kept) {
    p.m = {{memory->m.data(), n.units, states}, Slots::steps};
    p.dropped = {{memory->dropped.data(), n.steps * n.outputs, n.outputs}, Slots::steps};
    p.cells = memory->cells.data();
    p.cells_step = states;
    p.gates = memory->gates.data();
    p.norm = memory->norm.tape();
  } else {
    p.m = {{one_m.data(), n.units, 0}, Slots::steps};
    p.dropped = {{two_dropped.data(), n.outputs, outputs}, Slots::two};
    p.cells = results.c;
  }
  copy_or_zero(arguments.c0, states, p.cells);
  KernelRun run;
  if (memory != nullptr && !all_kept) {
    run = memory->checkpoints->forward(panels, p, results.h);
  } else {
    run = run_forward(panels, p);
    copy_last_states(p, results.h, all_kept ? results.c : nullptr);
  }
  if (results.y != nullptr && !arguments.real.all()) {
    arguments.real.fill_outputs(y, p.h0, n.batch, n.steps, n.outputs);
  }
  if (tape != nullptr) *tape = {p, arguments.real, memory};
  return run;
}

template <class T>
KernelRun lstm_backward(Tape<T>& tape, const ResultGradients<T>& outer, const ArgumentGradients<T>& gradients,
                        GradientTape<T>* kept) {
  tape.check_unused();
  if (kept != nullptr) tape.check_differentiable();
  const ForwardProblem<T>& forward = tape.problem;
  const Sizes& n = forward.sizes;
  const Index states = n.batch * n.units;
  const Index outputs = n.batch * n.outputs;
  const bool keep = kept != nullptr;
  const std::shared_ptr<TapeMemory<T>> memory = keep ? tape.memory : std::exchange(tape.memory, nullptr);
  try {
    const LstmPanels<T>& panels = *memory->panels;
    // Gates that another copy still reads stay as they are.
    const bool in_place = !keep && memory.use_count() == 1;
    // Whoever had another copy has read the gates.
    if (in_place) std::atomic_thread_fence(std::memory_order_acquire);
    const Index gates_size = in_place || memory->checkpoints != nullptr ? 0 : gate_tape_size(panels, n);
    const auto fresh = std::make_shared<typename GradientTape<T>::Memory>();
    if (!in_place) fresh->gates = Buffer<T>(gates_size);
    if (keep) {
      fresh->dh = Buffer<T>(n.steps * states);
      fresh->dc = Buffer<T>(n.steps * states);
      fresh->bytes = (gates_size + 2 * n.steps * states) * static_cast<Index>(sizeof(T));
    }
    const bool keeps_h = forward.options != nullptr && forward.options->zoneout.h > 0;
    const Buffer<T> dh_kept = keeps_h ? Buffer<T>(outputs) : Buffer<T>();
    // Outputs that repeat a state hand their gradients on to it.
    const bool repeats = tape.real.repeats() && outer.dy;
    const Buffer<T> gathered = repeats ? Buffer<T>(n.steps * outputs) : Buffer<T>();
    const Buffer<T> repeated_h0 = repeats ? Buffer<T>(outputs) : Buffer<T>();

    BackwardProblem<T> p{};
    static_cast<SequenceProblem<T>&>(p) = forward;
    static_cast<ArgumentGradients<T>&>(p) = gradients;
    p.h = forward.h.only_read();
    p.m = forward.m.only_read();
    p.dropped = forward.dropped.only_read();
    p.cells = forward.cells;
    p.activated = forward.gates;
    p.gates = in_place ? forward.gates : fresh->gates.data();
    p.dh_steps = fresh->dh.data();
    p.dc_steps = fresh->dc.data();
    p.dy = outer.dy;
    p.dh = outer.dh;
    p.dh_kept = dh_kept.data();
    if (repeats) {
      std::fill_n(repeated_h0.data(), outputs, T(0));
      tape.real.gather_gradients(p.dy, gathered.data(), repeated_h0.data(), n.batch, n.steps, n.outputs);
      p.dy = {gathered.data(), n.steps * n.outputs, n.outputs};
    }
    copy_or_zero(outer.dc, states, p.dc0);
    const KernelRun run =
        memory->checkpoints != nullptr ? memory->checkpoints->backward(panels, p) : run_backward(panels, p);
    if (p.dx) tape.real.clear_others(p.dx, n.batch, n.steps, n.inputs);
    for (Index i = 0; repeats && i < outputs; ++i) p.dh0[i] += repeated_h0.data()[i];
    if (keep) *kept = {tape, fresh};
    return run;
  } catch (const std::bad_alloc&) {
    // Memory for the pass is taken before anything on the tape is overwritten.
    tape.memory = memory;
    throw;
  }
}

template <class T>
void read_tape(const Tape<T>& tape, const StepValues<T>& values) {
  tape.check_unused();
  if (tape.memory->checkpoints != nullptr) {
    throw std::invalid_argument("tape: expected one with every step, got one with checkpoints");
  }
  if (values.gates != nullptr && tape.memory->layer_norm) {
    throw std::invalid_argument("tape: expected one with gates, got that of a layer-normalized cell");
  }
  const ForwardProblem<T>& p = tape.problem;
  const Sizes& n = p.sizes;
  const Index H = n.units;
  const Index R = n.outputs;
  const Index width = tape.memory->panels->width();
  const GateTape layout(n.steps, n.batch, width);
  for (Index b = 0; b < n.batch; ++b) {
    const Index length = p.timeline.length(b);
    const T* h = p.h0 == nullptr ? nullptr : p.h0 + b * R;
    for (Index t = 0, s = 0; t < n.steps; ++t) {
      const bool real = s < length && p.timeline.time(b, s) == t;
      if (real) h = p.hidden(b, s);
      const Index place = b * n.steps + t;
      if (values.gates != nullptr) {
        T* const gates = values.gates + place * kGates * H;
        for (Index k = 0; k < kGates * H; ++k) {
          const Index unit = k % H;
          const T* const row = p.gates + layout.place(unit / width, s, b) + k / H * width;
          gates[k] = real ? row[unit % width] : std::numeric_limits<T>::quiet_NaN();
        }
      }
      if (real) ++s;
      if (values.h != nullptr) copy_or_zero(h, R, values.h + place * R);
      // Slot s is the state after s real steps.
      if (values.c != nullptr) std::copy_n(p.cells + s * p.cells_step + b * H, H, values.c + place * H);
    }
  }
}

template <class T>
KernelRun lstm_step(const LstmPanels<T>& panels, const LstmArguments<T>& arguments, T* h_out, T* c_out) {
  ForwardProblem<T> p{};
  p.sizes = {arguments.batch, 1, panels.inputs(), panels.units(), panels.outputs()};
  const Index states = arguments.batch * p.sizes.units;
  const Index outputs = arguments.batch * p.sizes.outputs;
  p.x = arguments.x;
  p.h0 = arguments.h0;
  const bool may_end = Interruptible::current() != nullptr;
  // Units still read the old state while others write the new one.
  const bool h_apart = may_end || h_out == arguments.h0;
  const Buffer<T> fresh_h = h_apart ? Buffer<T>(outputs) : Buffer<T>();
  const Buffer<T> fresh_c = may_end ? Buffer<T>(states) : Buffer<T>();
  const Buffer<T> m = panels.projects() ? Buffer<T>(states) : Buffer<T>();
  p.h = {{h_apart ? fresh_h.data() : h_out, p.sizes.outputs, 0}, Slots::steps};
  p.cells = may_end ? fresh_c.data() : c_out;
  p.m = {{m.data(), p.sizes.units, 0}, Slots::steps};
  p.timeline = Timeline::whole(1, nullptr);
  p.options = arguments.options;
  p.layer_norm = arguments.layer_norm;
  if (arguments.c0 != p.cells) std::copy_n(arguments.c0, states, p.cells);
  KernelRun run = run_forward(panels, p);
  run.operation = "lstm_step";
  if (Interruptible::leave(0)) throw Interrupted();
  if (h_apart) std::copy_n(fresh_h.data(), outputs, h_out);
  if (may_end) std::copy_n(fresh_c.data(), states, c_out);
  return run;
}

#define FUSEDLSTM_INSTANTIATE(T)                                                                     \
  template struct TapeMemory<T>;                                                                     \
  template struct Tape<T>;                                                                           \
  template void copy_last_states(const ForwardProblem<T>&, T*, T*);                                  \
  template void read_tape(const Tape<T>&, const StepValues<T>&);                                     \
  template KernelRun lstm_forward(const Panels<T>&, const LstmArguments<T>&, const LstmResults<T>&,  \
                                  Tape<T>*, Index);                                                  \
  template KernelRun lstm_backward(Tape<T>&, const ResultGradients<T>&, const ArgumentGradients<T>&, \
                                   GradientTape<T>*);                                                \
  template KernelRun lstm_step(const LstmPanels<T>&, const LstmArguments<T>&, T*, T*);
FUSEDLSTM_INSTANTIATE(float)
FUSEDLSTM_INSTANTIATE(double)
#undef FUSEDLSTM_INSTANTIATE

}  // namespace fusedlstm
