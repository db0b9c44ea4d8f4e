// Dense products on NumPy arrays.
#include "../cpu/dense.h"

#include "checks.h"
#include "gil.h"
#include "module.h"
#include "sizes.h"
#include "strict.h"

namespace fusedlstm::bindings {
namespace {

py::array dense_forward(const py::object& x, const py::object& kernel, const py::object& bias) {
  check_kernels();
  const Number number = number_type("x", x);
  const Held input = readable("x", x, number, {{"M"}, {"K"}});
  const Index K = input.shape(1);
  const Held weights = readable("kernel", kernel, number, {{"K", K}, {"N"}});
  const Index M = input.shape(0);
  const Index N = weights.shape(1);
  check_matrix_sizes("x", {"M", M}, {"K", K}, {"N", N});
  const Held b = optional_contiguous("bias", bias, number, {{"N", N}});
  return naming_sizes({{"M", M}, {"K", K}, {"N", N}}, [&] {
    return with_number(number, [&](auto zero) {
      using T = decltype(zero);
      py::array y = new_array<T>({M, N});
      T* out = mutable_data<T>(y);
      {
        LongCall unlocked;
        note_run(run_dense("dense_forward", M, K, N, data_of<T>(input), stride_of<T>(input, 0),
                           data_of<T>(weights), stride_of<T>(weights, 0), Index{1}, data_of<T>(b), out));
        unlocked.finish();
      }
      return y;
    });
  });
}

py::tuple dense_backward(const py::object& x, const py::object& kernel, const py::object& dy, bool need_dx,
                         bool use_bias) {
  check_kernels();
  const Number number = number_type("x", x);
  const Held input = readable("x", x, number, {{"M"}, {"K"}});
  const Index M = input.shape(0);
  const Index K = input.shape(1);
  const Held weights = readable("kernel", kernel, number, {{"K", K}, {"N"}});
  const Index N = weights.shape(1);
  check_matrix_sizes("x", {"M", M}, {"K", K}, {"N", N});
  const Held gradient = contiguous("dy", dy, number, {{"M", M}, {"N", N}});
  return naming_sizes({{"M", M}, {"K", K}, {"N", N}}, [&] {
    return with_number(number, [&](auto zero) {
      using T = decltype(zero);
      py::array dkernel = new_array<T>({K, N});
      const Held dx = need_dx ? Held::made_here(new_array<T>({M, K})) : Held();
      const Held dbias = use_bias ? Held::made_here(new_array<T>({N})) : Held();
      T* dx_out = mutable_data<T>(dx);
      T* dbias_out = mutable_data<T>(dbias);
      T* dkernel_out = mutable_data<T>(dkernel);
      {
        LongCall unlocked;
        if (need_dx) {
          run_dense<T>("dense_backward", M, N, K, data_of<T>(gradient), N, data_of<T>(weights), Index{1},
                       stride_of<T>(weights, 0), nullptr, dx_out);
        }
        note_run(run_dense_gradients(M, K, N, data_of<T>(input), stride_of<T>(input, 0), data_of<T>(gradient),
                                     dkernel_out, dbias_out));
        unlocked.finish();
      }
      return py::make_tuple(dx.object(), dkernel, dbias.object());
    });
  });
}

}  // namespace

void bind_dense(py::module_& module) {
  module.def("dense_forward", &dense_forward);
  module.def("dense_backward", &dense_backward);
}

}  // namespace fusedlstm::bindings
