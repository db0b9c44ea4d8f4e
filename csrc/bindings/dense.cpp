// Dense products on NumPy arrays.
#include "../cpu/dense.h"

#include "checks.h"
#include "compute.h"
#include "gil.h"
#include "module.h"
#include "sizes.h"
#include "strict.h"

namespace fusedlstm::bindings {
namespace {

Compute compute_named(const py::object& name, Number number) {
  if (name.is_none()) return Compute::full;
  check_products(compute_of_product(name, number, "None or 'bfloat16'", false));
  return Compute::bfloat16;
}

// The operands of both directions, checked.
struct DenseCall {
  Number number;
  Compute compute;
  Held x;
  Held kernel;

  DenseCall(const py::object& x_object, const py::object& kernel_object, const py::object& compute_object)
      : number(number_type("x", x_object)),
        compute(compute_named(compute_object, number)),
        x(readable("x", x_object, number, {{"M"}, {"K"}})) {
    kernel = readable("kernel", kernel_object, number, {{"K", K().length}, {"N"}});
    check_matrix_sizes("x", M(), K(), N());
  }

  Dim M() const { return {"M", x.shape(0)}; }
  Dim K() const { return {"K", x.shape(1)}; }
  Dim N() const { return {"N", kernel.shape(1)}; }

  // Calls body(operands).
  template <class Body>
  auto run(const Body& body) const {
    return naming_sizes({M(), K(), N()}, [&] {
      return with_number(number, [&](auto zero) {
        using T = decltype(zero);
        return body(DenseOperands<T>{M().length, K().length, N().length, data_of<T>(x), stride_of<T>(x, 0),
                                     data_of<T>(kernel), stride_of<T>(kernel, 0)});
      });
    });
  }
};

py::array dense_forward(const py::object& x, const py::object& kernel, const py::object& bias,
                        const py::object& compute) {
  check_kernels();
  const DenseCall call(x, kernel, compute);
  const Held b = optional_contiguous("bias", bias, call.number, {call.N()});
  return call.run([&]<class T>(const DenseOperands<T>& operands) {
    py::array y = new_array<T>({operands.rows, operands.outputs});
    T* out = mutable_data<T>(y);
    LongCall unlocked;
    note_run(run_dense(operands, data_of<T>(b), out, call.compute));
    unlocked.finish();
    return y;
  });
}

py::tuple dense_backward(const py::object& x, const py::object& kernel, const py::object& dy, bool need_dx,
                         bool use_bias, const py::object& compute) {
  check_kernels();
  const DenseCall call(x, kernel, compute);
  const Held gradient = contiguous("dy", dy, call.number, {call.M(), call.N()});
  return call.run([&]<class T>(const DenseOperands<T>& operands) {
    const auto [rows, inputs, outputs, x_data, x_stride, kernel_data, kernel_stride] = operands;
    py::array dkernel = new_array<T>({inputs, outputs});
    const Held dx = need_dx ? Held::made_here(new_array<T>({rows, inputs})) : Held();
    const Held dbias = use_bias ? Held::made_here(new_array<T>({outputs})) : Held();
    T* dkernel_out = mutable_data<T>(dkernel);
    LongCall unlocked;
    note_run(run_dense_gradients(operands, data_of<T>(gradient), mutable_data<T>(dx), dkernel_out,
                                 mutable_data<T>(dbias), call.compute));
    unlocked.finish();
    return py::make_tuple(dx.object(), dkernel, dbias.object());
  });
}

}  // namespace

void bind_dense(py::module_& module) {
  module.def("dense_forward", &dense_forward);
  module.def("dense_backward", &dense_backward);
}

}  // namespace fusedlstm::bindings
