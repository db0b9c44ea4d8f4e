// Weights, tape, and the sequence kernels on NumPy arrays.
#include "../cpu/lstm.h"

#include <algorithm>

#include "../cpu/checkpoint.h"
#include "checks.h"
#include "module.h"
#include "weights.h"

namespace fusedlstm::bindings {
namespace {

// What forward leaves for one backward pass: gates and cells of all steps, or checkpoints.
template <class T>
struct TapeMemory {
  Panels<T> panels;
  Buffer<T> gates;
  Buffer<T> cells;
  std::unique_ptr<Checkpoints<T>> checkpoints;
};

struct Tape {
  Number number;
  Sizes sizes;
  bool go_backwards;
  bool use_bias;
  py::array x;
  py::object y;        // None with checkpoints
  py::object h0;       // None for zeros
  py::object lengths;  // None where all steps are real
  std::variant<TapeMemory<float>, TapeMemory<double>> memory;
  Index bytes;
  bool used = false;

  void check_unused() const {
    if (used) {
      throw std::runtime_error("tape: expected one that no backward pass has used yet, got a used one");
    }
  }
};

Timeline timeline_of(Index steps, const py::object& lengths) {
  return Timeline::whole(steps, data_or_null<Index>(lengths));
}

// States after each row's last real step; c (B,H) only where it is not null.
template <class T>
void copy_last_states(const ForwardProblem<T>& p, T* h, T* c) {
  const Index H = p.sizes.units;
  for (Index b = 0; b < p.sizes.batch; ++b) {
    const Index length = p.timeline.length(b);
    const T* source = length > 0 ? p.hidden(b, length - 1) : p.h0 != nullptr ? p.h0 + b * H : nullptr;
    if (source != nullptr) {
      std::copy_n(source, H, h + b * H);
    } else {
      std::fill_n(h + b * H, H, T(0));
    }
    if (c != nullptr) std::copy_n(p.cells + length * p.cells_step + b * H, H, c + b * H);
  }
}

// The (B,T,features) array's steps that are not real become zero.
template <class T>
void clear_padding(T* data, Index batch, Index features, const Timeline& timeline) {
  for (Index b = 0; b < batch; ++b) {
    T* row = data + b * timeline.steps * features;
    std::fill(row + timeline.length(b) * features, row + timeline.steps * features, T(0));
  }
}

template <class T>
Sequence<const T> sequence_of(const py::array& array, bool backwards) {
  Sequence<const T> view{data_of<T>(array), stride_of<T>(array, 0), stride_of<T>(array, 1)};
  if (backwards && array.shape(1) > 0) {
    view.data += (array.shape(1) - 1) * view.step;
    view.step = -view.step;
  }
  return view;
}

struct ForwardOptions {
  bool training;
  bool return_sequences;
  bool go_backwards;
  Index checkpoint_every;  // 0 for a whole tape
};

template <class T>
py::tuple forward(const Weights& weights, const py::array& x, const py::object& lengths, const py::object& h0,
                  const py::object& c0, const ForwardOptions& options) {
  const Panels<T> panels = weights.panels<T>();
  const Sizes n{x.shape(0), x.shape(1), weights.inputs(), weights.units()};
  const Index B = n.batch;
  const Index H = n.units;
  const Index states = B * H;
  const bool whole_tape = options.training && options.checkpoint_every == 0;
  const bool whole_y = whole_tape || options.return_sequences;

  py::array h_last = new_array<T>({B, H});
  py::array c_last = new_array<T>({B, H});
  py::object y = py::none();
  if (whole_y) y = new_array<T>({B, n.steps, H});
  const Buffer<T> hidden = whole_y ? Buffer<T>() : Buffer<T>(2 * states);
  TapeMemory<T> memory{panels, {}, {}, nullptr};
  Index tape_bytes = 0;
  if (whole_tape) {
    const Index gates = panels->gate_panels() * GateTape(n.steps, B, panels->width()).panel_size();
    const Index cells = (n.steps + 1) * states;
    memory.gates = Buffer<T>(gates);
    memory.cells = Buffer<T>(cells);
    tape_bytes = (gates + cells) * static_cast<Index>(sizeof(T));
  } else if (options.training) {
    memory.checkpoints = std::make_unique<Checkpoints<T>>(*panels, n, options.checkpoint_every);
    tape_bytes = memory.checkpoints->bytes();
  }

  ForwardProblem<T> p{};
  p.sizes = n;
  p.timeline = timeline_of(n.steps, lengths);
  p.x = sequence_of<T>(x, options.go_backwards);
  p.h0 = data_or_null<T>(h0);
  if (whole_y) {
    p.h = {{mutable_data<T>(py::reinterpret_borrow<py::array>(y)), n.steps * H, H}, Slots::times};
  } else {
    p.h = {{hidden.data(), H, states}, Slots::two};
  }
  const T* first_c = data_or_null<T>(c0);
  T* h_out = mutable_data<T>(h_last);
  T* c_out = mutable_data<T>(c_last);
  p.cells = whole_tape ? memory.cells.data() : c_out;
  p.cells_step = whole_tape ? states : 0;
  p.gates = memory.gates.data();
  {
    const py::gil_scoped_release nogil;
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
    if (whole_y && p.timeline.lengths != nullptr) clear_padding(p.h.states.data, B, H, p.timeline);
  }
  py::object tape = py::none();
  if (options.training) {
    tape = py::cast(std::make_unique<Tape>(Tape{number_of<T>, n, options.go_backwards, weights.use_bias(), x,
                                                whole_tape ? y : py::none(), h0, lengths, std::move(memory),
                                                tape_bytes}));
  }
  return py::make_tuple(options.return_sequences ? y : py::none(), h_last, c_last, tape);
}

py::object optional_state(const char* name, const py::object& state, Number number, Index batch,
                          Index units) {
  if (state.is_none()) return state;
  return contiguous(name, state, number, {{"B", batch}, {"H", units}});
}

// None, or the number of real steps of each row as a contiguous array of Index.
py::object checked_lengths(const py::object& lengths, Index batch, Index steps) {
  if (lengths.is_none()) return lengths;
  const char* expected = "an array of integers";
  if (!py::isinstance<py::array>(lengths)) raise_type("lengths", expected, type_name(lengths));
  const auto given = py::reinterpret_borrow<py::array>(lengths);
  if (given.dtype().kind() != 'i' && given.dtype().kind() != 'u') {
    raise_type("lengths", expected, "an array of " + py::cast<std::string>(py::str(given.dtype())));
  }
  if (given.ndim() != 1 || given.shape(0) != batch) {
    raise_value("lengths", "shape (B=" + std::to_string(batch) + ",)", "shape " + shape_text(given));
  }
  // A copy: the tape must not see later changes.
  py::array_t<Index> copy = given.attr("astype")("int64");
  for (Index b = 0; b < batch; ++b) {
    const Index length = copy.at(b);
    if (length < 0 || length > steps) {
      raise_value("lengths", "numbers from 0 to T=" + std::to_string(steps), std::to_string(length));
    }
  }
  return copy;
}

py::tuple lstm_forward(const Weights& weights, const py::object& x, const py::object& lengths,
                       const py::object& h0, const py::object& c0, bool training, bool return_sequences,
                       bool go_backwards, Index checkpoint_every) {
  const Number number = weights.number();
  const py::array input = readable("x", x, number, {{"B"}, {"T"}, {"I", weights.inputs()}});
  if (training && weights.storage() != Storage::full) {
    raise_value("weights", "full storage for training", std::string(name_of(weights.storage())));
  }
  const Index B = input.shape(0);
  const py::object h = optional_state("h0", h0, number, B, weights.units());
  const py::object c = optional_state("c0", c0, number, B, weights.units());
  const py::object real = checked_lengths(lengths, B, input.shape(1));
  if (go_backwards && !real.is_none()) {
    raise_value("go_backwards", "False together with lengths, whose padding is on the right", "True");
  }
  if (checkpoint_every < 0) {
    raise_value("checkpoint_every", "0 or a positive number of steps", std::to_string(checkpoint_every));
  }
  return with_number(number, [&](auto zero) {
    return forward<decltype(zero)>(weights, input, real, h, c,
                                   {training, return_sequences, go_backwards, checkpoint_every});
  });
}

template <class T>
py::tuple backward(Tape& tape, const py::object& dy, const py::object& dh, const py::object& dc,
                   bool need_dx) {
  const Sizes& n = tape.sizes;
  const Index B = n.batch;
  const Index H = n.units;
  const Index states = B * H;
  py::array dkernel = new_array<T>({n.inputs, 4 * H});
  py::array drecurrent = new_array<T>({H, 4 * H});
  py::array dh0 = new_array<T>({B, H});
  py::array dc0 = new_array<T>({B, H});
  py::object dx = py::none();
  py::object dbias = py::none();
  if (need_dx) dx = new_array<T>({B, n.steps, n.inputs});
  if (tape.use_bias) dbias = new_array<T>({4 * H});

  BackwardProblem<T> p{};
  p.sizes = n;
  p.timeline = timeline_of(n.steps, tape.lengths);
  p.x = sequence_of<T>(tape.x, tape.go_backwards);
  p.h0 = data_or_null<T>(tape.h0);
  TapeMemory<T> memory = std::move(std::get<TapeMemory<T>>(tape.memory));
  tape.used = true;
  if (!tape.y.is_none()) {
    p.h = {sequence_of<T>(py::reinterpret_borrow<py::array>(tape.y), false), Slots::times};
  }
  p.cells = memory.cells.data();
  p.gates = memory.gates.data();
  if (!dy.is_none()) p.dy = sequence_of<T>(py::reinterpret_borrow<py::array>(dy), false);
  p.dh = data_or_null<T>(dh);
  p.dc = mutable_data<T>(dc0);
  p.dh0 = mutable_data<T>(dh0);
  T* dx_data = need_dx ? mutable_data<T>(py::reinterpret_borrow<py::array>(dx)) : nullptr;
  if (need_dx) {
    const Sequence<const T> view = sequence_of<T>(py::reinterpret_borrow<py::array>(dx), tape.go_backwards);
    p.dx = {const_cast<T*>(view.data), view.row, view.step};
  }
  p.dkernel = mutable_data<T>(dkernel);
  p.drecurrent_kernel = mutable_data<T>(drecurrent);
  if (tape.use_bias) p.dbias = mutable_data<T>(py::reinterpret_borrow<py::array>(dbias));
  const T* last_dc = data_or_null<T>(dc);
  {
    const py::gil_scoped_release nogil;
    if (last_dc != nullptr) {
      std::copy_n(last_dc, states, p.dc);
    } else {
      std::fill_n(p.dc, states, T(0));
    }
    note_run(memory.checkpoints != nullptr ? memory.checkpoints->backward(*memory.panels, p)
                                           : run_backward(*memory.panels, p));
    if (need_dx && p.timeline.lengths != nullptr) clear_padding(dx_data, B, n.inputs, p.timeline);
  }
  return py::make_tuple(dx, dkernel, drecurrent, dbias, dh0, dc0);
}

py::tuple lstm_backward(Tape& tape, const py::object& dy, const py::object& dh, const py::object& dc,
                        bool need_dx) {
  tape.check_unused();
  const Sizes& n = tape.sizes;
  py::object dy_view = dy;
  if (!dy.is_none()) {
    dy_view = readable("dy", dy, tape.number, {{"B", n.batch}, {"T", n.steps}, {"H", n.units}});
  }
  const py::object dh_view = optional_state("dh", dh, tape.number, n.batch, n.units);
  const py::object dc_view = optional_state("dc", dc, tape.number, n.batch, n.units);
  return with_number(tape.number, [&](auto zero) {
    return backward<decltype(zero)>(tape, dy_view, dh_view, dc_view, need_dx);
  });
}

template <class T>
void step(const Weights& weights, const py::array& x, const py::array& h, const py::array& c,
          const py::array& h_out, const py::array& c_out) {
  const Panels<T> panels = weights.panels<T>();  // A share: update() may come meanwhile.
  ForwardProblem<T> p{};
  p.sizes = {x.shape(0), 1, weights.inputs(), weights.units()};
  const Index states = p.sizes.batch * p.sizes.units;
  p.x = {data_of<T>(x), stride_of<T>(x, 0), 0};
  p.h0 = data_of<T>(h);
  p.cells = mutable_data<T>(c_out);
  T* h_target = mutable_data<T>(h_out);
  // Units still read the old state while others write the new one.
  const bool in_place = overlap(h_out, h);
  const Buffer<T> fresh = in_place ? Buffer<T>(states) : Buffer<T>();
  p.h = {{in_place ? fresh.data() : h_target, p.sizes.units, 0}, Slots::steps};
  p.timeline = Timeline::whole(1, nullptr);
  const T* c_prev = data_of<T>(c);
  const py::gil_scoped_release nogil;
  if (c_prev != p.cells) std::copy_n(c_prev, states, p.cells);
  KernelRun run = run_forward(*panels, p);
  run.operation = "lstm_step";
  note_run(run);
  if (in_place) std::copy_n(fresh.data(), states, h_target);
}

py::tuple lstm_step(const Weights& weights, const py::object& x, const py::object& h, const py::object& c,
                    const py::object& out) {
  const Number number = weights.number();
  const py::array input = readable("x", x, number, {{"B"}, {"I", weights.inputs()}});
  const Index B = input.shape(0);
  const Index H = weights.units();
  const py::array h_in = contiguous("h", h, number, {{"B", B}, {"H", H}});
  const py::array c_in = contiguous("c", c, number, {{"B", B}, {"H", H}});
  return with_number(number, [&](auto zero) {
    using T = decltype(zero);
    if (out.is_none()) {
      const py::tuple fresh = py::make_tuple(new_array<T>({B, H}), new_array<T>({B, H}));
      step<T>(weights, input, h_in, c_in, fresh[0], fresh[1]);
      return fresh;
    }
    if (!py::isinstance<py::tuple>(out) || py::len(out) != 2) {
      raise_type("out", "a tuple of two arrays", type_name(out));
    }
    const auto pair = py::reinterpret_borrow<py::tuple>(out);
    const py::array h_new = writable("out[0]", pair[0], number, {{"B", B}, {"H", H}});
    const py::array c_new = writable("out[1]", pair[1], number, {{"B", B}, {"H", H}});
    if (overlap(h_new, c_new) || overlap(h_new, input) || overlap(c_new, input) || overlap(h_new, c_in) ||
        overlap(c_new, h_in) || (overlap(c_new, c_in) && c_new.data() != c_in.data())) {
      raise_value("out", "arrays apart from each other and from x (each may be h or c itself)",
                  "overlapping ones");
    }
    step<T>(weights, input, h_in, c_in, h_new, c_new);
    return pair;
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
