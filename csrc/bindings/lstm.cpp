// Weights, tape, and the sequence kernels on NumPy arrays.
#include <pybind11/stl.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "cell_options.h"
#include "compute.h"
#include "gil.h"
#include "module.h"
#include "overlap.h"
#include "real_steps.h"
#include "sizes.h"
#include "strict.h"
#include "tape.h"
#include "weights.h"

namespace fusedlstm::bindings {
namespace {

// The arguments of forward besides the weights, checked.
struct ForwardCall {
  Held x;
  RealSteps real;
  Held h0;
  Held c0;
  const CheckedOptions& options;
  Held recurrent_mask;
  bool training;
  bool return_sequences;
  bool go_backwards;
  Index checkpoint_every;  // 0 for a whole tape
};

template <class T>
py::tuple forward(const Weights& weights, const Sizes& n, const ForwardCall& call) {
  const Panels<T> panels = weights.panels<T>();  // A share: update() may come meanwhile.
  const py::array h = new_array<T>({n.batch, n.outputs});
  const py::array c = new_array<T>({n.batch, n.units});
  const Held y = call.return_sequences ? Held(new_array<T>({n.batch, n.steps, n.outputs})) : Held();
  const LstmResults<T> results{mutable_data<T>(y), mutable_data<T>(h), mutable_data<T>(c)};
  const auto cell = call.options.cell<T>();
  const auto layer_norm = call.options.layer_norm<T>();
  const LstmArguments<T> arguments{.batch = n.batch,
                                   .steps = n.steps,
                                   .x = sequence_of<const T>(call.x, call.go_backwards),
                                   .h0 = data_of<T>(call.h0),
                                   .c0 = data_of<T>(call.c0),
                                   .real = call.real,
                                   .options = address_of(cell),
                                   .layer_norm = address_of(layer_norm),
                                   .recurrent_mask = data_of<T>(call.recurrent_mask)};
  Tape<T> tape;
  {
    LongCall unlocked;
    note_run(fusedlstm::lstm_forward<T>(panels, arguments, results, call.training ? &tape : nullptr,
                                        call.checkpoint_every));
    unlocked.finish();
  }
  py::object kept = py::none();
  if (call.training) {
    const Index bytes = tape.memory->bytes;
    const TapeArrays arrays{n,
                            weights.outputs_letter(),
                            call.go_backwards,
                            weights.use_bias(),
                            call.x,
                            tape.memory->checkpoints == nullptr ? y : Held(),
                            call.h0,
                            call.recurrent_mask,
                            bytes};
    kept = py::cast(std::make_unique<TapeObject>(TapeObject{arrays, std::move(tape)}));
  }
  return py::make_tuple(y.object(), h, c, kept);
}

py::tuple lstm_forward(const Weights& weights, const py::object& x, const py::object& lengths,
                       const py::object& mask, bool zero_output_for_mask, const py::object& h0,
                       const py::object& c0, const py::object& options, const py::object& recurrent_mask,
                       const py::object& zoneout_seed, bool training, bool return_sequences,
                       bool go_backwards, Index checkpoint_every) {
  check_kernels();
  check_products(weights.storage());
  const Number number = weights.number();
  const Held input = readable("x", x, number, {{"B"}, {"T"}, {"I", weights.inputs()}});
  const Dim R{weights.outputs_letter(), weights.outputs()};
  const Sizes n{input.shape(0), input.shape(1), weights.inputs(), weights.units(), R.length};
  check_sequence_sizes("x", n, R.letter);
  return naming_sizes(n, R.letter, [&] {
    const Dim B{"B", n.batch};
    const Held h = optional_contiguous("h0", h0, number, {B, R});
    const Held c = optional_contiguous("c0", c0, number, {B, {"H", n.units}});
    const RealSteps real = checked_steps(lengths, mask, zero_output_for_mask, go_backwards, n.batch, n.steps);
    const Held dropping = optional_contiguous("recurrent_mask", recurrent_mask, number, {B, R});
    const CheckedOptions checked(options, number, n.units, zoneout_seed);
    const ForwardCall call{
        input, real, h, c, checked, dropping, training, return_sequences, go_backwards, checkpoint_every};
    return with_number(number, [&](auto zero) { return forward<decltype(zero)>(weights, n, call); });
  });
}

template <class T>
py::tuple backward(TapeObject& object, const Held& dy, const Held& dh, const Held& dc, bool need_dx,
                   bool need_dweights, bool keep, const std::vector<Index>& groups) {
  object.check_unused();  // Another thread may have used it while arguments were copied.
  Tape<T>& tape = std::get<Tape<T>>(object.tape);
  const Sizes& n = object.arrays.sizes;
  const Index H = n.units;
  const Index R = n.outputs;
  const py::array dh0 = new_array<T>({n.batch, R});
  const py::array dc0 = new_array<T>({n.batch, H});
  const Held dx = need_dx ? Held::made_here(new_array<T>({n.batch, n.steps, n.inputs})) : Held();
  ArgumentGradients<T> gradients{.dh0 = mutable_data<T>(dh0), .dc0 = mutable_data<T>(dc0)};
  if (need_dx) gradients.dx = sequence_of<T>(dx, object.arrays.go_backwards);
  if (!groups.empty()) {
    gradients.group_count = static_cast<Index>(groups.size()) - 1;
    gradients.group_ends = groups.data();
  }
  // A gradient of weights, where it is wanted and `has` says that there are such weights; with groups, one
  // for each.
  const auto make = [&](bool has, std::vector<py::ssize_t> shape, T*& data) -> py::object {
    if (!need_dweights || !has) return py::none();
    if (!groups.empty()) shape.insert(shape.begin(), gradients.group_count);
    py::array array = new_array<T>(shape);
    data = mutable_data<T>(array);
    return array;
  };
  const py::object dkernel = make(true, {n.inputs, kGates * H}, gradients.dkernel);
  const py::object drecurrent = make(true, {R, kGates * H}, gradients.drecurrent_kernel);
  const py::object dbias = make(object.arrays.use_bias, {kGates * H}, gradients.dbias);
  const py::object dprojection = make(tape.memory->panels->projects(), {H, R}, gradients.dprojection);
  const py::object dpeepholes = make(tape.has_peepholes(), {3, H}, gradients.dpeepholes);
  py::object dlayer_norm = py::none();
  if (need_dweights && tape.memory->layer_norm) {
    LayerNormGradients<T>& norm = gradients.dlayer_norm;
    dlayer_norm = py::make_tuple(make(true, {kGates * H}, norm.gamma_input),
                                 make(true, {kGates * H}, norm.gamma_recurrent),
                                 make(true, {H}, norm.gamma_cell), make(true, {H}, norm.beta_cell));
  }
  ResultGradients<T> outer{.dh = data_of<T>(dh), .dc = data_of<T>(dc)};
  if (dy) outer.dy = sequence_of<const T>(dy);
  GradientTape<T> second;
  Tape<T> local = keep ? tape : std::move(tape);  // No other thread sees it.
  try {
    LongCall unlocked;
    try {
      note_run(fusedlstm::lstm_backward<T>(local, outer, gradients, keep ? &second : nullptr));
    } catch (const Interrupted&) {  // finish() says by what.
    }
    unlocked.finish();
  } catch (const std::bad_alloc&) {
    tape = std::move(local);
    throw;
  }
  py::object kept = py::none();
  if (keep) {
    const Index bytes = second.memory->bytes;
    GradientTapeObject made{object.arrays, std::move(second), bytes};
    kept = py::cast(std::make_unique<GradientTapeObject>(std::move(made)));
  }
  return py::make_tuple(dx.object(), dkernel, drecurrent, dbias, dh0, dc0, dpeepholes, dprojection,
                        dlayer_norm, kept);
}

// Groups of rows: where each begins, from 0 on, and the end.
void check_groups(const TapeObject& tape, const std::vector<Index>& groups, Index batch) {
  if (groups.empty()) return;
  const bool ends = groups.size() > 1 && groups.front() == 0 && groups.back() == batch;
  if (!ends || std::adjacent_find(groups.begin(), groups.end(), std::greater_equal<>()) != groups.end()) {
    throw std::invalid_argument("groups: expected rows that increase from 0 to B=" + std::to_string(batch));
  }
  std::visit(
      [](const auto& one) {
        const auto& memory = *one.memory;
        if (memory.checkpoints != nullptr || memory.panels->projects() || memory.layer_norm ||
            one.has_peepholes()) {
          throw std::invalid_argument(
              "groups: expected a tape without checkpoints, projection, layer normalization and peepholes");
        }
      },
      tape.tape);
}

py::tuple lstm_backward(TapeObject& tape, const py::object& dy, const py::object& dh, const py::object& dc,
                        bool need_dx, bool need_dweights, bool keep, const std::vector<Index>& groups) {
  check_kernels();
  tape.check_unused();
  if (keep) tape.check_differentiable();
  const Sizes& n = tape.arrays.sizes;
  check_groups(tape, groups, n.batch);
  const Number number = tape.number();
  const Dim B{"B", n.batch};
  const Dim R{tape.arrays.outputs_letter, n.outputs};
  const Held dy_view = dy.is_none() ? Held() : readable("dy", dy, number, {B, {"T", n.steps}, R});
  const Held dh_view = optional_contiguous("dh", dh, number, {B, R});
  const Held dc_view = optional_contiguous("dc", dc, number, {B, {"H", n.units}});
  return naming_sizes(n, R.letter, [&] {
    return with_number(number, [&](auto zero) {
      return backward<decltype(zero)>(tape, dy_view, dh_view, dc_view, need_dx, need_dweights, keep, groups);
    });
  });
}

template <class T>
void step(const Weights& weights, const Held& x, const Held& h, const Held& c, const CheckedOptions& options,
          const Held& h_out, const Held& c_out) {
  const Panels<T> panels = weights.panels<T>();  // A share: update() may come meanwhile.
  const auto cell = options.cell<T>();
  const auto layer_norm = options.layer_norm<T>();
  const LstmArguments<T> arguments{.batch = x.shape(0),
                                   .steps = 1,
                                   .x = {data_of<T>(x), stride_of<T>(x, 0), 0},
                                   .h0 = data_of<T>(h),
                                   .c0 = data_of<T>(c),
                                   .options = address_of(cell),
                                   .layer_norm = address_of(layer_norm)};
  const auto run = [&] {
    note_run(fusedlstm::lstm_step(*panels, arguments, mutable_data<T>(h_out), mutable_data<T>(c_out)));
  };
  // A step of some milliseconds and more can be interrupted.
  constexpr Index most_uninterrupted = 500'000'000;
  if (2 * kGates * c.size() * (weights.inputs() + weights.outputs()) <= most_uninterrupted) {
    const WithoutLock unlocked;
    return run();
  }
  LongCall unlocked;
  try {
    run();
  } catch (const Interrupted&) {  // finish() says by what.
  }
  unlocked.finish();
}

// An array that a step writes may be the state that it replaces, and shares memory with nothing else that the
// step reads or writes. Arguments that had to be copied are read from the copies.
void check_out(const char* name, const Held& out, const char* state_name, const Held& state,
               std::initializer_list<std::pair<const char*, const Held*>> others, const Held& x,
               const CheckedOptions& options, Number number) {
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
  check_products(weights.storage());
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
  const CheckedOptions checked(options, number, H, py::none());
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
    check_out("out[0]", h_new, "h", h_in, {{"c", &c_in}}, input, checked, number);
    check_out("out[1]", c_new, "c", c_in, {{"h", &h_in}, {"out[0]", &h_new}}, input, checked, number);
  }
  return naming_sizes(sizes, R.letter, [&] {
    return with_number(number, [&](auto zero) {
      using T = decltype(zero);
      if (!h_new) {
        h_new = Held::made_here(new_array<T>({B, R.length}));
        c_new = Held::made_here(new_array<T>({B, H}));
        pair = py::make_tuple(h_new.object(), c_new.object());
      }
      step<T>(weights, input, h_in, c_in, checked, h_new, c_new);
      return pair;
    });
  });
}

template <class T>
py::tuple states(const Tape<T>& tape, const Sizes& n) {
  const py::array h = new_array<T>({n.batch, n.steps, n.outputs});
  const py::array c = new_array<T>({n.batch, n.steps, n.units});
  py::object gates = py::none();
  StepValues<T> values{mutable_data<T>(h), mutable_data<T>(c), nullptr};
  if (!tape.memory->layer_norm) {
    py::array array = new_array<T>({n.batch, n.steps, kGates * n.units});
    values.gates = mutable_data<T>(array);
    gates = array;
  }
  {
    const WithoutLock unlocked;
    read_tape(tape, values);
  }
  return py::make_tuple(h, c, gates);
}

py::tuple lstm_states(const TapeObject& object) {
  object.check_unused();
  const TapeObject share = object;  // A backward pass may come meanwhile.
  const Sizes& n = share.arrays.sizes;
  return naming_sizes(n, share.arrays.outputs_letter, [&] {
    return std::visit([&](const auto& tape) { return states(tape, n); }, share.tape);
  });
}

}  // namespace

void bind_lstm(py::module_& module) {
  py::class_<TapeObject>(module, "Tape")
      .def_property_readonly("nbytes", [](const TapeObject& tape) { return tape.arrays.bytes; })
      .def_property_readonly("used", &TapeObject::used);
  module.def("lstm_forward", &lstm_forward);
  module.def("lstm_backward", &lstm_backward, py::arg("tape"), py::arg("dy"), py::arg("dh"), py::arg("dc"),
             py::arg("need_dx"), py::arg("need_dweights"), py::arg("keep"),
             py::arg("groups") = std::vector<Index>{});
  module.def("lstm_states", &lstm_states);
  module.def("lstm_step", &lstm_step);
}

}  // namespace fusedlstm::bindings
