// Tangents and second derivatives on NumPy arrays.
#include "../cpu/second_order.h"

#include "gil.h"
#include "module.h"
#include "sizes.h"
#include "strict.h"
#include "tape.h"

namespace fusedlstm::bindings {
namespace {

// Arrays like the arguments of forward, or None for what does not move.
struct DirectionArguments {
  const py::object& x;
  const py::object& kernel;
  const py::object& recurrent_kernel;
  const py::object& bias;
  const py::object& h0;
  const py::object& c0;
  const py::object& peepholes;
};

// The same, checked. `prefix` comes before the arguments' names in errors.
struct CheckedDirection {
  Held x;
  Held kernel;
  Held recurrent_kernel;
  Held bias;
  Held h0;
  Held c0;
  Held peepholes;

  CheckedDirection(const std::string& prefix, const DirectionArguments& arguments, const TapeArrays& tape,
                   Number number, bool has_peepholes) {
    const Sizes& n = tape.sizes;
    const Dim B{"B", n.batch};
    const Dim H{"H", n.units};
    const Dim G{"4H", kGates * n.units};
    const auto check = [&](const char* name, const py::object& array, std::initializer_list<Dim> shape,
                           auto& how) {
      return array.is_none() ? Held() : how((prefix + name).c_str(), array, number, shape, Pin::always);
    };
    const auto refuse = [&](const char* name, const py::object& array, bool there, const char* why) {
      if (!there && !array.is_none()) raise_value(prefix + name, std::string("None ") + why, "an array");
    };
    refuse("bias", arguments.bias, tape.use_bias, "for weights without a bias");
    refuse("peepholes", arguments.peepholes, has_peepholes, "for a cell without peepholes");
    x = check("x", arguments.x, {B, {"T", n.steps}, {"I", n.inputs}}, readable);
    kernel = check("kernel", arguments.kernel, {{"I", n.inputs}, G}, readable);
    recurrent_kernel = check("recurrent_kernel", arguments.recurrent_kernel, {H, G}, readable);
    bias = check("bias", arguments.bias, {G}, contiguous);
    h0 = check("h0", arguments.h0, {B, H}, contiguous);
    c0 = check("c0", arguments.c0, {B, H}, contiguous);
    peepholes = check("peepholes", arguments.peepholes, {{"3", 3}, H}, contiguous);
  }

  template <class T>
  Direction<T> typed(bool go_backwards) const {
    return {x ? sequence_of<const T>(x, go_backwards) : Sequence<const T>{},
            data_of<T>(kernel),
            stride_of<T>(kernel, 0),
            data_of<T>(recurrent_kernel),
            stride_of<T>(recurrent_kernel, 0),
            data_of<T>(bias),
            data_of<T>(h0),
            data_of<T>(c0),
            data_of<T>(peepholes)};
  }
};

// Arrays for the tangents of y, h and c.
template <class T>
struct Tangents {
  explicit Tangents(const Sizes& n)
      : y(new_array<T>({n.batch, n.steps, n.units})),
        h(new_array<T>({n.batch, n.units})),
        c(new_array<T>({n.batch, n.units})) {}
  LstmResults<T> results() const { return {mutable_data<T>(y), mutable_data<T>(h), mutable_data<T>(c)}; }

  py::array y;
  py::array h;
  py::array c;
};

py::tuple lstm_jvp(const TapeObject& object, const py::object& x, const py::object& kernel,
                   const py::object& recurrent_kernel, const py::object& bias, const py::object& h0,
                   const py::object& c0, const py::object& peepholes) {
  check_kernels();
  object.check_unused();
  object.check_differentiable();
  const TapeObject share = object;  // A backward pass may come meanwhile.
  const TapeArrays& arrays = share.arrays;
  return std::visit(
      [&]<class T>(const Tape<T>& tape) {
        const CheckedDirection direction("", {x, kernel, recurrent_kernel, bias, h0, c0, peepholes}, arrays,
                                         number_of<T>, tape.has_peepholes());
        return naming_sizes(arrays.sizes, arrays.outputs_letter, [&] {
          const Tangents<T> tangents(arrays.sizes);
          const LstmResults<T> results = tangents.results();
          const Direction<T> typed = direction.typed<T>(arrays.go_backwards);
          LongCall unlocked;
          note_run(fusedlstm::lstm_jvp(tape, typed, results));
          unlocked.finish();
          return py::make_tuple(tangents.y, tangents.h, tangents.c);
        });
      },
      share.tape);
}

template <class T>
py::tuple second_backward(const GradientTape<T>& tape, const TapeArrays& arrays,
                          const CheckedDirection& direction, bool need_dx) {
  const Sizes& n = arrays.sizes;
  const Index H = n.units;
  const Tangents<T> tangents(n);
  const py::array dkernel = new_array<T>({n.inputs, kGates * H});
  const py::array drecurrent = new_array<T>({H, kGates * H});
  const py::array dh0 = new_array<T>({n.batch, H});
  const py::array dc0 = new_array<T>({n.batch, H});
  const Held dx = need_dx ? Held::made_here(new_array<T>({n.batch, n.steps, n.inputs})) : Held();
  const Held dbias = arrays.use_bias ? Held::made_here(new_array<T>({kGates * H})) : Held();
  const Held dpeepholes = tape.forward.has_peepholes() ? Held::made_here(new_array<T>({3, H})) : Held();
  ArgumentGradients<T> gradients{.dh0 = mutable_data<T>(dh0),
                                 .dc0 = mutable_data<T>(dc0),
                                 .dkernel = mutable_data<T>(dkernel),
                                 .drecurrent_kernel = mutable_data<T>(drecurrent),
                                 .dbias = mutable_data<T>(dbias),
                                 .dpeepholes = mutable_data<T>(dpeepholes)};
  if (need_dx) gradients.dx = sequence_of<T>(dx, arrays.go_backwards);
  const LstmResults<T> results = tangents.results();
  const Direction<T> typed = direction.typed<T>(arrays.go_backwards);
  LongCall unlocked;
  try {
    note_run(fusedlstm::lstm_second_backward(tape, typed, results, gradients));
  } catch (const Interrupted&) {  // finish() says by what.
  }
  unlocked.finish();
  return py::make_tuple(tangents.y, tangents.h, tangents.c, dx.object(), dkernel, drecurrent, dbias.object(),
                        dh0, dc0, dpeepholes.object());
}

py::tuple lstm_second_backward(const GradientTapeObject& object, const py::object& ddx,
                               const py::object& ddkernel, const py::object& ddrecurrent_kernel,
                               const py::object& ddbias, const py::object& ddh0, const py::object& ddc0,
                               const py::object& ddpeepholes, bool need_dx) {
  check_kernels();
  const TapeArrays& arrays = object.arrays;
  return std::visit(
      [&]<class T>(const GradientTape<T>& tape) {
        const CheckedDirection direction("dd",
                                         {ddx, ddkernel, ddrecurrent_kernel, ddbias, ddh0, ddc0, ddpeepholes},
                                         arrays, number_of<T>, tape.forward.has_peepholes());
        return naming_sizes(arrays.sizes, arrays.outputs_letter,
                            [&] { return second_backward<T>(tape, arrays, direction, need_dx); });
      },
      object.tape);
}

}  // namespace

void bind_second_order(py::module_& module) {
  py::class_<GradientTapeObject>(module, "GradientTape").def_readonly("nbytes", &GradientTapeObject::bytes);
  module.def("lstm_jvp", &lstm_jvp);
  module.def("lstm_second_backward", &lstm_second_backward);
}

}  // namespace fusedlstm::bindings
