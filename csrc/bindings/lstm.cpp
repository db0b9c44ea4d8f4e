// Weights, tape, and the sequence kernels on NumPy arrays.
#include "../cpu/lstm.h"

#include <algorithm>

#include "checks.h"
#include "gil.h"
#include "module.h"
#include "overlap.h"
#include "sizes.h"
#include "strict.h"
#include "tape.h"

namespace fusedlstm::bindings {
namespace {

// The arguments of forward besides x and the weights, checked.
struct ForwardCall {
  RealSteps real;
  Held h0;
  Held c0;
  GivenOptions options;
  Held recurrent_mask;
  bool training;
  bool return_sequences;
  bool go_backwards;
  Index checkpoint_every;  // 0 for a whole tape
};

template <class T>
py::tuple forward(const Weights& weights, const Held& x, const ForwardCall& call) {
  const Panels<T> panels = weights.panels<T>();
  const Sizes n{x.shape(0), x.shape(1), weights.inputs(), weights.units(), weights.outputs()};
  const Index B = n.batch;
  const Index H = n.units;
  const Index R = n.outputs;
  const Index states = B * H;
  const Index outputs = B * R;
  const bool whole_tape = call.training && call.checkpoint_every == 0;
  const bool whole_y = whole_tape || call.return_sequences;

  py::array h_last = new_array<T>({B, R});
  py::array c_last = new_array<T>({B, H});
  const Held y = whole_y ? Held(new_array<T>({B, n.steps, R})) : Held();
  const Buffer<T> hidden = whole_y ? Buffer<T>() : Buffer<T>(2 * outputs);
  const auto kept = std::make_shared<TapeMemory<T>>();
  TapeMemory<T>& memory = *kept;
  memory.panels = panels;
  const bool dropping = static_cast<bool>(call.recurrent_mask);
  Index tape_bytes = 0;
  if (whole_tape) {
    const Index gates = gate_tape_size(*panels, n);
    const Index cells = (n.steps + 1) * states;
    memory.gates = Buffer<T>(gates);
    memory.cells = Buffer<T>(cells);
    const Index m = panels->projects() ? n.steps * states : 0;
    if (panels->projects()) memory.m = Buffer<T>(m);
    const Index dropped = dropping ? n.steps * outputs : 0;
    if (dropping) memory.dropped = Buffer<T>(dropped);
    memory.norm =
        NormTapeMemory<T>(call.options.has_layer_norm(), n.steps, B, panels->gate_panels(), panels->width());
    tape_bytes = (gates + cells + m + dropped + memory.norm.size()) * static_cast<Index>(sizeof(T));
  } else if (call.training) {
    memory.checkpoints = std::make_unique<Checkpoints<T>>(*panels, n, call.checkpoint_every);
    tape_bytes = memory.checkpoints->bytes();
  }

  ForwardProblem<T> p{};
  p.sizes = n;
  p.timeline = call.real.timeline(n.steps);
  p.x = sequence_of<T>(x, call.go_backwards);
  p.h0 = data_of<T>(call.h0);
  const CellOptions<T> options = call.options.template typed<T>();
  p.options = call.options ? &options : nullptr;
  const LayerNorm<T> layer_norm = call.options.template layer_norm<T>();
  p.layer_norm = call.options.has_layer_norm() ? &layer_norm : nullptr;
  p.norm = memory.norm.tape();
  p.recurrent_mask = data_of<T>(call.recurrent_mask);
  const Buffer<T> one_m = panels->projects() && !whole_tape ? Buffer<T>(states) : Buffer<T>();
  p.m = whole_tape ? HiddenStates<T>{{memory.m.data(), H, states}, Slots::steps}
                   : HiddenStates<T>{{one_m.data(), H, 0}, Slots::steps};
  const Buffer<T> two_dropped = dropping && !whole_tape ? Buffer<T>(2 * outputs) : Buffer<T>();
  p.dropped = whole_tape ? HiddenStates<T>{{memory.dropped.data(), n.steps * R, R}, Slots::steps}
                         : HiddenStates<T>{{two_dropped.data(), R, outputs}, Slots::two};
  if (whole_y) {
    p.h = {{mutable_data<T>(y), n.steps * R, R}, Slots::times};
  } else {
    p.h = {{hidden.data(), R, outputs}, Slots::two};
  }
  const T* first_c = data_of<T>(call.c0);
  T* h_out = mutable_data<T>(h_last);
  T* c_out = mutable_data<T>(c_last);
  p.cells = whole_tape ? memory.cells.data() : c_out;
  p.cells_step = whole_tape ? states : 0;
  p.gates = memory.gates.data();
  {
    LongCall unlocked;
    if (first_c != nullptr) {
      std::copy_n(first_c, states, p.cells);
    } else {
      std::fill_n(p.cells, states, T(0));
    }
    if (memory.checkpoints != nullptr) {
      note_run(memory.checkpoints->forward(*panels, p, h_out));
    } else {
      note_run(run_forward(*panels, p));
      copy_last_states(p, h_out, whole_tape ? c_out : nullptr);
    }
    if (call.return_sequences && !call.real.all()) {
      call.real.fill_outputs(p.h.states.data, p.h0, B, n.steps, R);
    }
    unlocked.finish();
  }
  py::object tape = py::none();
  if (call.training) {
    tape = py::cast(
        std::make_unique<Tape>(Tape{number_of<T>, n, weights.outputs_letter(), call.go_backwards,
                                    weights.use_bias(), x, whole_tape ? y : Held(), call.h0, call.real,
                                    call.options.copied(), call.recurrent_mask, kept, tape_bytes}));
  }
  return py::make_tuple(call.return_sequences ? y.object() : py::none(), h_last, c_last, tape);
}

py::tuple lstm_forward(const Weights& weights, const py::object& x, const py::object& lengths,
                       const py::object& mask, bool zero_output_for_mask, const py::object& h0,
                       const py::object& c0, const py::object& options, const py::object& recurrent_mask,
                       const py::object& zoneout_seed, bool training, bool return_sequences,
                       bool go_backwards, Index checkpoint_every) {
  check_kernels();
  const Number number = weights.number();
  const Held input = readable("x", x, number, {{"B"}, {"T"}, {"I", weights.inputs()}});
  if (training && weights.storage() != Storage::full) {
    raise_value("weights", "full storage for training", std::string(name_of(weights.storage())));
  }
  const Index B = input.shape(0);
  const Index H = weights.units();
  const Dim R{weights.outputs_letter(), weights.outputs()};
  const Sizes sizes{B, input.shape(1), weights.inputs(), H, R.length};
  check_sequence_sizes("x", sizes, R.letter);
  const Held h = optional_contiguous("h0", h0, number, {{"B", B}, R});
  const Held c = optional_contiguous("c0", c0, number, {{"B", B}, {"H", H}});
  const RealSteps real(lengths, mask, zero_output_for_mask, go_backwards, B, input.shape(1));
  const Held dropping = optional_contiguous("recurrent_mask", recurrent_mask, number, {{"B", B}, R});
  if (checkpoint_every < 0) {
    raise_value("checkpoint_every", "0 or a positive number of steps", std::to_string(checkpoint_every));
  }
  const GivenOptions given(options, number, H, zoneout_seed);
  const ForwardCall call{
      real, h, c, given, dropping, training, return_sequences, go_backwards, checkpoint_every};
  return naming_sizes(sizes, R.letter, [&] {
    return with_number(number, [&](auto zero) { return forward<decltype(zero)>(weights, input, call); });
  });
}

template <class T>
py::tuple backward(Tape& tape, const Held& dy, const Held& dh, const Held& dc, bool need_dx,
                   bool need_dweights, bool keep) {
  tape.check_unused();  // Another thread may have used it while arguments were copied.
  const Sizes& n = tape.sizes;
  const Index B = n.batch;
  const Index H = n.units;
  const Index R = n.outputs;
  const Index states = B * H;
  const Index outputs = B * R;
  py::array dh0 = new_array<T>({B, R});
  py::array dc0 = new_array<T>({B, H});
  const Held dx = need_dx ? Held::made_here(new_array<T>({B, n.steps, n.inputs})) : Held();

  const TapeShare<T> memory = std::get<TapeShare<T>>(tape.memory);
  BackwardProblem<T> p{};
  // A gradient of weights, where it is wanted and `has` says that there are such weights.
  const auto make = [&](bool has, std::initializer_list<py::ssize_t> shape, T*& data) -> py::object {
    if (!need_dweights || !has) return py::none();
    py::array array = new_array<T>(shape);
    data = mutable_data<T>(array);
    return array;
  };
  const py::object dkernel = make(true, {n.inputs, 4 * H}, p.dkernel);
  const py::object drecurrent = make(true, {R, 4 * H}, p.drecurrent_kernel);
  const py::object dbias = make(tape.use_bias, {4 * H}, p.dbias);
  const py::object dprojection = make(memory->panels->projects(), {H, R}, p.dprojection);
  const py::object dpeepholes = make(tape.options.has_peepholes(), {3, H}, p.dpeepholes);
  py::object dlayer_norm = py::none();
  if (need_dweights && tape.options.has_layer_norm()) {
    LayerNormGradients<T>& norm = p.dlayer_norm;
    dlayer_norm =
        py::make_tuple(make(true, {4 * H}, norm.gamma_input), make(true, {4 * H}, norm.gamma_recurrent),
                       make(true, {H}, norm.gamma_cell), make(true, {H}, norm.beta_cell));
  }
  p.sizes = n;
  p.timeline = tape.real.timeline(n.steps);
  p.x = sequence_of<T>(tape.x, tape.go_backwards);
  p.h0 = data_of<T>(tape.h0);
  // Gates that a gradients' tape or another pass still reads stay as they are: two shares are the tape's and
  // this one.
  const bool in_place = !keep && memory.use_count() == 2;
  const Index gates_size = in_place ? 0 : gate_tape_size(*memory->panels, n);
  const auto gradients = std::make_shared<GradientMemory<T>>();
  const Buffer<T> dh_kept = tape.options.keeps_h() ? Buffer<T>(outputs) : Buffer<T>();
  // Outputs that repeat a state hand their gradients on to it.
  const bool repeats = tape.real.repeats() && static_cast<bool>(dy);
  const Buffer<T> gathered = repeats ? Buffer<T>(n.steps * outputs) : Buffer<T>();
  const Buffer<T> repeated_h0 = repeats ? Buffer<T>(outputs) : Buffer<T>();
  if (!in_place) gradients->gates = Buffer<T>(gates_size);
  std::unique_ptr<GradientTape> kept;
  if (keep) {
    gradients->dh = Buffer<T>(n.steps * states);
    gradients->dc = Buffer<T>(n.steps * states);
    const Index bytes = (gates_size + 2 * n.steps * states) * static_cast<Index>(sizeof(T));
    kept = std::make_unique<GradientTape>(GradientTape{tape, gradients, bytes});
  } else {
    std::get<TapeShare<T>>(tape.memory).reset();
    tape.used = true;
  }
  const CellOptions<T> options = tape.options.typed<T>();
  p.options = tape.options ? &options : nullptr;
  const LayerNorm<T> layer_norm = tape.options.layer_norm<T>();
  p.layer_norm = tape.options.has_layer_norm() ? &layer_norm : nullptr;
  p.norm = memory->norm.tape();
  p.recurrent_mask = data_of<T>(tape.recurrent_mask);
  p.dropped = {{memory->dropped.data(), n.steps * R, R}, Slots::steps};
  p.m = {{memory->m.data(), H, states}, Slots::steps};
  p.dh_kept = dh_kept.data();
  if (tape.y) p.h = {sequence_of<T>(tape.y, false), Slots::times};
  p.cells = memory->cells.data();
  p.activated = memory->gates.data();
  p.gates = in_place ? memory->gates.data() : gradients->gates.data();
  p.dh_steps = gradients->dh.data();
  p.dc_steps = gradients->dc.data();
  if (dy) p.dy = sequence_of<T>(dy, false);
  p.dh = data_of<T>(dh);
  p.dc = mutable_data<T>(dc0);
  p.dh0 = mutable_data<T>(dh0);
  T* dx_data = mutable_data<T>(dx);
  if (need_dx) {
    const Sequence<const T> view = sequence_of<T>(dx, tape.go_backwards);
    p.dx = {const_cast<T*>(view.data), view.row, view.step};
  }
  const T* last_dc = data_of<T>(dc);
  try {
    LongCall unlocked;
    if (repeats) {
      std::fill_n(repeated_h0.data(), outputs, T(0));
      tape.real.gather_gradients(p.dy, gathered.data(), repeated_h0.data(), B, n.steps, R);
      p.dy = {gathered.data(), n.steps * R, R};
    }
    if (last_dc != nullptr) {
      std::copy_n(last_dc, states, p.dc);
    } else {
      std::fill_n(p.dc, states, T(0));
    }
    try {
      note_run(memory->checkpoints != nullptr ? memory->checkpoints->backward(*memory->panels, p)
                                              : run_backward(*memory->panels, p));
    } catch (const Interrupted&) {  // finish() says by what.
    }
    if (need_dx && !tape.real.all()) {
      tape.real.clear_others(dx_data, B, n.steps, n.inputs, tape.go_backwards);
    }
    for (Index i = 0; repeats && i < outputs; ++i) p.dh0[i] += repeated_h0.data()[i];
    unlocked.finish();
  } catch (const std::bad_alloc&) {
    // Memory for the pass is taken before anything on the tape is overwritten.
    std::get<TapeShare<T>>(tape.memory) = memory;
    tape.used = false;
    throw;
  }
  const py::object gradient_tape = keep ? py::cast(std::move(kept)) : py::none();
  return py::make_tuple(dx.object(), dkernel, drecurrent, dbias, dh0, dc0, dpeepholes, dprojection,
                        dlayer_norm, gradient_tape);
}

py::tuple lstm_backward(Tape& tape, const py::object& dy, const py::object& dh, const py::object& dc,
                        bool need_dx, bool need_dweights, bool keep) {
  check_kernels();
  tape.check_unused();
  if (keep) tape.check_differentiable();
  const Sizes& n = tape.sizes;
  const Dim R{tape.outputs_letter, n.outputs};
  const Held dy_view =
      dy.is_none() ? Held() : readable("dy", dy, tape.number, {{"B", n.batch}, {"T", n.steps}, R});
  const Held dh_view = optional_contiguous("dh", dh, tape.number, {{"B", n.batch}, R});
  const Held dc_view = optional_contiguous("dc", dc, tape.number, {{"B", n.batch}, {"H", n.units}});
  return naming_sizes(n, tape.outputs_letter, [&] {
    return with_number(tape.number, [&](auto zero) {
      return backward<decltype(zero)>(tape, dy_view, dh_view, dc_view, need_dx, need_dweights, keep);
    });
  });
}

template <class T>
void step(const Weights& weights, const Held& x, const Held& h, const Held& c, const GivenOptions& given,
          const Held& h_out, const Held& c_out) {
  const Panels<T> panels = weights.panels<T>();  // A share: update() may come meanwhile.
  ForwardProblem<T> p{};
  p.sizes = {x.shape(0), 1, weights.inputs(), weights.units(), weights.outputs()};
  const Index states = p.sizes.batch * p.sizes.units;
  const Index outputs = p.sizes.batch * p.sizes.outputs;
  p.x = {data_of<T>(x), stride_of<T>(x, 0), 0};
  p.h0 = data_of<T>(h);
  T* h_target = mutable_data<T>(h_out);
  T* c_target = mutable_data<T>(c_out);
  // A step of some milliseconds and more can be interrupted, and writes its results when it has them.
  constexpr Index most_uninterrupted = 500'000'000;
  const bool is_long = 8 * states * (p.sizes.inputs + p.sizes.outputs) > most_uninterrupted;
  // Units still read the old state while others write the new one.
  const bool h_apart = is_long || h_out.data() == h.data();
  const Buffer<T> fresh = h_apart ? Buffer<T>(outputs) : Buffer<T>();
  const Buffer<T> fresh_c = is_long ? Buffer<T>(states) : Buffer<T>();
  p.h = {{h_apart ? fresh.data() : h_target, p.sizes.outputs, 0}, Slots::steps};
  p.cells = is_long ? fresh_c.data() : c_target;
  const Buffer<T> m = panels->projects() ? Buffer<T>(states) : Buffer<T>();
  p.m = {{m.data(), p.sizes.units, 0}, Slots::steps};
  p.timeline = Timeline::whole(1, nullptr);
  const CellOptions<T> options = given.typed<T>();
  p.options = given ? &options : nullptr;
  const LayerNorm<T> layer_norm = given.layer_norm<T>();
  p.layer_norm = given.has_layer_norm() ? &layer_norm : nullptr;
  const T* c_prev = data_of<T>(c);
  const auto run = [&] {
    if (c_prev != p.cells) std::copy_n(c_prev, states, p.cells);
    KernelRun done = run_forward(*panels, p);
    done.operation = "lstm_step";
    note_run(done);
  };
  if (is_long) {
    LongCall unlocked;
    run();
    unlocked.finish();
  }
  const WithoutLock unlocked;
  if (!is_long) run();
  if (h_apart) std::copy_n(fresh.data(), outputs, h_target);
  if (is_long) std::copy_n(fresh_c.data(), states, c_target);
}

// An array that a step writes may be the state that it replaces, and shares memory with nothing else that the
// step reads or writes. Arguments that had to be copied are read from the copies.
void check_out(const char* name, const Held& out, const char* state_name, const Held& state,
               std::initializer_list<std::pair<const char*, const Held*>> others, const Held& x,
               const GivenOptions& options, Number number) {
  const Index element = bytes_of(number);
  const Piece piece = piece_of(out, element);
  const auto refuse = [&](const std::string& other) {
    raise_value(name, std::string(state_name) + " itself or memory that no other argument has",
                "some that it shares with " + other);
  };
  if (overlap(piece, rows_of(x, element))) refuse("x");
  if (out.data() != state.data() && overlap(piece, piece_of(state, element))) refuse(state_name);
  for (const auto& [other, array] : others) {
    if (overlap(piece, piece_of(*array, element))) refuse(other);
  }
  if (options.any_array([&](const Held& array) { return overlap(piece, piece_of(array, element)); })) {
    refuse("options");
  }
}

py::tuple lstm_step(const Weights& weights, const py::object& x, const py::object& h, const py::object& c,
                    const py::object& options, const py::object& out) {
  check_kernels();
  const Number number = weights.number();
  const Pin pin = pin_beside_threads();
  const Held input = readable("x", x, number, {{"B"}, {"I", weights.inputs()}}, pin);
  const Index B = input.shape(0);
  const Index H = weights.units();
  const Dim R{weights.outputs_letter(), weights.outputs()};
  const Sizes sizes{B, 1, weights.inputs(), H, R.length};
  check_sequence_sizes("x", sizes, R.letter);
  const Held h_in = contiguous("h", h, number, {{"B", B}, R}, pin);
  const Held c_in = contiguous("c", c, number, {{"B", B}, {"H", H}}, pin);
  const GivenOptions given(options, number, H, py::none());
  py::tuple pair;
  Held h_new;
  Held c_new;
  if (!out.is_none()) {
    if (!py::isinstance<py::tuple>(out) || py::len(out) != 2) {
      raise_type("out", "a tuple of two arrays", type_name(out));
    }
    pair = py::reinterpret_borrow<py::tuple>(out);
    h_new = writable("out[0]", pair[0], number, {{"B", B}, R}, pin);
    c_new = writable("out[1]", pair[1], number, {{"B", B}, {"H", H}}, pin);
    check_out("out[0]", h_new, "h", h_in, {{"c", &c_in}}, input, given, number);
    check_out("out[1]", c_new, "c", c_in, {{"h", &h_in}, {"out[0]", &h_new}}, input, given, number);
  }
  return naming_sizes(sizes, R.letter, [&] {
    return with_number(number, [&](auto zero) {
      using T = decltype(zero);
      if (!h_new) {
        h_new = Held::made_here(new_array<T>({B, R.length}));
        c_new = Held::made_here(new_array<T>({B, H}));
        pair = py::make_tuple(h_new.object(), c_new.object());
      }
      step<T>(weights, input, h_in, c_in, given, h_new, c_new);
      return pair;
    });
  });
}

}  // namespace

void bind_lstm(py::module_& module) {
  py::class_<Tape>(module, "Tape")
      .def_readonly("nbytes", &Tape::bytes)
      .def_property_readonly("used", [](const Tape& tape) { return tape.used; });
  module.def("lstm_forward", &lstm_forward);
  module.def("lstm_backward", &lstm_backward);
  module.def("lstm_step", &lstm_step);
}

}  // namespace fusedlstm::bindings
