// Tangents and second derivatives on NumPy arrays.
#include "../cpu/second_order.h"

#include "checks.h"
#include "gil.h"
#include "module.h"
#include "sizes.h"
#include "strict.h"
#include "tape.h"

namespace fusedlstm::bindings {
namespace {

// A direction as Python gives it: arrays like the arguments of forward, or None for what does not move.
// `Array` is py::object, or Held once it is checked.
template <class Array>
struct DirectionOf {
  Array x;
  Array kernel;
  Array recurrent_kernel;
  Array bias;
  Array h0;
  Array c0;
  Array peepholes;

  template <class T>
  Direction<T> typed(bool go_backwards) const {
    Direction<T> direction{};
    if (x) direction.x = sequence_of<T>(x, go_backwards);
    direction.kernel = data_of<T>(kernel);
    direction.kernel_stride = stride_of<T>(kernel, 0);
    direction.recurrent_kernel = data_of<T>(recurrent_kernel);
    direction.recurrent_stride = stride_of<T>(recurrent_kernel, 0);
    direction.bias = data_of<T>(bias);
    direction.h0 = data_of<T>(h0);
    direction.c0 = data_of<T>(c0);
    direction.peepholes = data_of<T>(peepholes);
    return direction;
  }
};

// `prefix` comes before the arguments' names in errors.
using GivenDirection = DirectionOf<Held>;
GivenDirection checked_direction(const std::string& prefix, const DirectionOf<py::object>& given,
                                 const Tape& tape) {
  const Sizes& n = tape.sizes;
  const auto check = [&](const char* name, const py::object& array, std::initializer_list<Dim> shape,
                         auto& how) {
    return array.is_none() ? Held() : how((prefix + name).c_str(), array, tape.number, shape, Pin::always);
  };
  const auto refuse = [&](const char* name, const py::object& array, bool there, const char* why) {
    if (!there && !array.is_none()) raise_value(prefix + name, std::string("None ") + why, "an array");
  };
  refuse("bias", given.bias, tape.use_bias, "for weights without a bias");
  refuse("peepholes", given.peepholes, tape.options.has_peepholes(), "for a cell without peepholes");
  return {check("x", given.x, {{"B", n.batch}, {"T", n.steps}, {"I", n.inputs}}, readable),
          check("kernel", given.kernel, {{"I", n.inputs}, {"4H", 4 * n.units}}, readable),
          check("recurrent_kernel", given.recurrent_kernel, {{"H", n.units}, {"4H", 4 * n.units}}, readable),
          check("bias", given.bias, {{"4H", 4 * n.units}}, contiguous),
          check("h0", given.h0, {{"B", n.batch}, {"H", n.units}}, contiguous),
          check("c0", given.c0, {{"B", n.batch}, {"H", n.units}}, contiguous),
          check("peepholes", given.peepholes, {{"3", 3}, {"H", n.units}}, contiguous)};
}

// One run along a direction: what it reads, and where its tangents go. `steps`: keep those of gates and
// cells.
template <class T>
class TangentRun {
 public:
  py::array y;
  py::array h;
  py::array c;
  TangentProblem<T> p{};

  TangentRun(const Tape& tape, const TapeMemory<T>& memory, const GivenDirection& given, bool steps)
      : y(new_array<T>({tape.sizes.batch, tape.sizes.steps, tape.sizes.units})),
        h(new_array<T>({tape.sizes.batch, tape.sizes.units})),
        c(new_array<T>({tape.sizes.batch, tape.sizes.units})),
        tape_(tape),
        options_(tape.options.typed<T>()),
        direction_(given.typed<T>(tape.go_backwards)),
        panels_(memory.panels) {
    const Sizes& n = tape.sizes;
    const Index states = n.batch * n.units;
    p.timeline = tape.real.timeline(n.steps);
    p.x = direction_.x;
    p.h0 = direction_.h0;
    p.h = {{mutable_data<T>(y), n.steps * n.units, n.units}, Slots::times};
    p.options = tape.options ? &options_ : nullptr;
    p.recurrent_mask = data_of<T>(tape.recurrent_mask);
    p.peepholes_dot = direction_.peepholes;
    const bool dropping = p.recurrent_mask != nullptr;
    if (steps) {
      gates_ = Buffer<T>(gate_tape_size(*panels_, n));
      cells_ = Buffer<T>((n.steps + 1) * states);
      p.gates = gates_.data();
      p.cells = cells_.data();
      p.cells_step = states;
    } else {
      p.cells = mutable_data<T>(c);
    }
    if (dropping) dropped_ = Buffer<T>(steps ? n.steps * states : 2 * states);
    p.dropped = steps ? HiddenStates<T>{{dropped_.data(), n.steps * n.units, n.units}, Slots::steps}
                      : HiddenStates<T>{{dropped_.data(), n.units, states}, Slots::two};

    ForwardProblem<T>& primal = p.primal;
    primal.sizes = n;
    primal.timeline = p.timeline;
    primal.x = sequence_of<T>(tape.x, tape.go_backwards);
    primal.h0 = data_of<T>(tape.h0);
    primal.h = {{mutable_data<T>(tape.y), n.steps * n.units, n.units}, Slots::times};
    primal.cells = memory.cells.data();
    primal.cells_step = states;
    primal.gates = memory.gates.data();
    primal.options = p.options;
    primal.recurrent_mask = p.recurrent_mask;
    primal.dropped = {{memory.dropped.data(), n.steps * n.units, n.units}, Slots::steps};
  }
  TangentRun(const TangentRun&) = delete;
  TangentRun& operator=(const TangentRun&) = delete;

  // Without the interpreter's lock.
  void run() {
    const Sizes& n = tape_.sizes;
    const Index states = n.batch * n.units;
    packed_ = std::make_unique<const DirectionPanels<T>>(*panels_, direction_);
    if (direction_.c0 != nullptr) {
      std::copy_n(direction_.c0, states, p.cells);
    } else {
      std::fill_n(p.cells, states, T(0));
    }
    p.sizes = n;
    note_run(run_tangents(*panels_, *packed_, p));
    copy_last_states<T>(p, mutable_data<T>(h), p.gates != nullptr ? mutable_data<T>(c) : nullptr);
    if (!tape_.real.all()) tape_.real.fill_outputs(p.h.states.data, p.h0, n.batch, n.steps, n.units);
  }

  const DirectionPanels<T>& packed() const { return *packed_; }

 private:
  const Tape& tape_;
  CellOptions<T> options_;
  Direction<T> direction_;
  Panels<T> panels_;
  Buffer<T> gates_;
  Buffer<T> cells_;
  Buffer<T> dropped_;
  std::unique_ptr<const DirectionPanels<T>> packed_;
};

template <class T>
py::tuple jvp(const Tape& tape, const GivenDirection& given) {
  const TapeShare<T> memory = std::get<TapeShare<T>>(tape.memory);
  TangentRun<T> tangents(tape, *memory, given, false);
  {
    LongCall unlocked;
    tangents.run();
    unlocked.finish();
  }
  return py::make_tuple(tangents.y, tangents.h, tangents.c);
}

py::tuple lstm_jvp(const Tape& tape, const py::object& x, const py::object& kernel,
                   const py::object& recurrent_kernel, const py::object& bias, const py::object& h0,
                   const py::object& c0, const py::object& peepholes) {
  check_kernels();
  tape.check_unused();
  tape.check_differentiable();
  const Tape own = tape;  // A share: a backward pass may come meanwhile.
  const GivenDirection given =
      checked_direction("", {x, kernel, recurrent_kernel, bias, h0, c0, peepholes}, own);
  return naming_sizes(own.sizes, own.outputs_letter, [&] {
    return with_number(own.number, [&](auto zero) { return jvp<decltype(zero)>(own, given); });
  });
}

template <class T>
py::tuple second_backward(const GradientTape& gradients, const GivenDirection& given, bool need_dx) {
  const Tape& tape = gradients.forward;
  const TapeMemory<T>& memory = *std::get<TapeShare<T>>(tape.memory);
  const GradientMemory<T>& first = *std::get<GradientShare<T>>(gradients.memory);
  const Sizes& n = tape.sizes;
  const Index H = n.units;
  const Index states = n.batch * H;
  TangentRun<T> tangents(tape, memory, given, true);
  py::array dkernel = new_array<T>({n.inputs, 4 * H});
  py::array drecurrent = new_array<T>({H, 4 * H});
  py::array dh0 = new_array<T>({n.batch, H});
  py::array dc0 = new_array<T>({n.batch, H});
  const Held dx = need_dx ? Held::made_here(new_array<T>({n.batch, n.steps, n.inputs})) : Held();
  const Held dbias = tape.use_bias ? Held::made_here(new_array<T>({4 * H})) : Held();
  const Held dpeepholes = tape.options.has_peepholes() ? Held::made_here(new_array<T>({3, H})) : Held();

  const TangentProblem<T>& along = tangents.p;
  const ForwardProblem<T>& primal = along.primal;
  SecondProblem<T> p{};
  p.sizes = n;
  p.timeline = primal.timeline;
  p.x = primal.x;
  p.h0 = primal.h0;
  p.h = {{primal.h.states.data, primal.h.states.row, primal.h.states.step}, Slots::times};
  p.cells = primal.cells;
  p.activated = primal.gates;
  p.gates = along.gates;
  p.dh_steps = first.dh.data();
  p.dc_steps = first.dc.data();
  p.options = primal.options;
  p.recurrent_mask = primal.recurrent_mask;
  p.dropped = {{memory.dropped.data(), n.steps * H, H}, Slots::steps};
  p.dc = mutable_data<T>(dc0);
  p.dh0 = mutable_data<T>(dh0);
  p.dkernel = mutable_data<T>(dkernel);
  p.drecurrent_kernel = mutable_data<T>(drecurrent);
  if (need_dx) {
    const Sequence<const T> view = sequence_of<T>(dx, tape.go_backwards);
    p.dx = {const_cast<T*>(view.data), view.row, view.step};
  }
  p.dbias = mutable_data<T>(dbias);
  p.dpeepholes = mutable_data<T>(dpeepholes);
  p.gate_gradients = first.gates.data();
  p.cells_dot = along.cells;
  p.x_dot = along.x;
  p.h0_dot = along.h0;
  p.h_dot = {{along.h.states.data, n.steps * H, H}, Slots::times};
  p.dropped_dot = {{along.dropped.states.data, n.steps * H, H}, Slots::steps};
  p.peepholes_dot = along.peepholes_dot;
  T* dx_data = mutable_data<T>(dx);
  {
    LongCall unlocked;
    std::fill_n(p.dc, states, T(0));
    tangents.run();
    try {
      note_run(run_second_backward(*memory.panels, tangents.packed(), p));
    } catch (const Interrupted&) {  // finish() says by what.
    }
    if (need_dx && !tape.real.all()) {
      tape.real.clear_others(dx_data, n.batch, n.steps, n.inputs, tape.go_backwards);
    }
    unlocked.finish();
  }
  return py::make_tuple(tangents.y, tangents.h, tangents.c, dx.object(), dkernel, drecurrent, dbias.object(),
                        dh0, dc0, dpeepholes.object());
}

py::tuple lstm_second_backward(const GradientTape& tape, const py::object& ddx, const py::object& ddkernel,
                               const py::object& ddrecurrent_kernel, const py::object& ddbias,
                               const py::object& ddh0, const py::object& ddc0, const py::object& ddpeepholes,
                               bool need_dx) {
  check_kernels();
  const GivenDirection given = checked_direction(
      "dd", {ddx, ddkernel, ddrecurrent_kernel, ddbias, ddh0, ddc0, ddpeepholes}, tape.forward);
  return naming_sizes(tape.forward.sizes, tape.forward.outputs_letter, [&] {
    return with_number(tape.forward.number,
                       [&](auto zero) { return second_backward<decltype(zero)>(tape, given, need_dx); });
  });
}

}  // namespace

void bind_second_order(py::module_& module) {
  py::class_<GradientTape>(module, "GradientTape").def_readonly("nbytes", &GradientTape::bytes);
  module.def("lstm_jvp", &lstm_jvp);
  module.def("lstm_second_backward", &lstm_second_backward);
}

}  // namespace fusedlstm::bindings
