// Layer normalization of the rows of NumPy arrays.
#include "../cpu/layer_norm.h"

#include <cmath>

#include "checks.h"
#include "gil.h"
#include "module.h"
#include "sizes.h"
#include "strict.h"

namespace fusedlstm::bindings {
namespace {

// The arguments of both directions, checked.
struct LayerNormCall {
  Number number;
  Held x;
  Held gamma;  // (N) or none
  double epsilon;

  LayerNormCall(const py::object& x_object, const py::object& gamma_object, double epsilon_value)
      : number(number_type("x", x_object)),
        x(readable("x", x_object, number, {{"M"}, {"N"}})),
        gamma(optional_row("gamma", gamma_object)),
        epsilon(epsilon_value) {
    check_kernels();
    check_matrix_sizes("x", {"M", x.shape(0)}, {"N", x.shape(1)}, {"N", x.shape(1)});
    if (!(epsilon > 0.0 && std::isfinite(epsilon))) {
      raise_value("epsilon", "a positive number", std::to_string(epsilon));
    }
  }

  Index rows() const { return x.shape(0); }
  Index features() const { return x.shape(1); }
  Held optional_row(const char* name, const py::object& row) const {
    return optional_contiguous(name, row, number, {{"N", features()}});
  }

  template <class T>
  LayerNormProblem<T> problem() const {
    LayerNormProblem<T> p{};
    p.rows = rows();
    p.features = features();
    p.x = data_of<T>(x);
    p.x_stride = stride_of<T>(x, 0);
    p.gamma = data_of<T>(gamma);
    p.epsilon = static_cast<T>(epsilon);
    return p;
  }
};

py::array layer_norm_forward(const py::object& x, const py::object& gamma, const py::object& beta,
                             double epsilon) {
  const LayerNormCall call(x, gamma, epsilon);
  const Held offset = call.optional_row("beta", beta);
  return with_number(call.number, [&](auto zero) {
    using T = decltype(zero);
    py::array y = new_array<T>({call.rows(), call.features()});
    LayerNormProblem<T> p = call.problem<T>();
    p.beta = data_of<T>(offset);
    p.y = mutable_data<T>(y);
    {
      LongCall unlocked;
      note_run(run_layer_norm(p));
      unlocked.finish();
    }
    return y;
  });
}

py::tuple layer_norm_backward(const py::object& x, const py::object& gamma, const py::object& dy,
                              double epsilon, bool need_dx) {
  const LayerNormCall call(x, gamma, epsilon);
  const Held gradient = contiguous("dy", dy, call.number, {{"M", call.rows()}, {"N", call.features()}});
  return with_number(call.number, [&](auto zero) {
    using T = decltype(zero);
    const Held dx = need_dx ? Held::made_here(new_array<T>({call.rows(), call.features()})) : Held();
    py::array dgamma = new_array<T>({call.features()});
    py::array dbeta = new_array<T>({call.features()});
    LayerNormProblem<T> p = call.problem<T>();
    p.dy = data_of<T>(gradient);
    p.dx = mutable_data<T>(dx);
    T* dgamma_out = mutable_data<T>(dgamma);
    T* dbeta_out = mutable_data<T>(dbeta);
    {
      LongCall unlocked;
      note_run(run_layer_norm_gradients(p, dgamma_out, dbeta_out));
      unlocked.finish();
    }
    return py::make_tuple(dx.object(), dgamma, dbeta);
  });
}

}  // namespace

void bind_layer_norm(py::module_& module) {
  module.def("layer_norm_forward", &layer_norm_forward);
  module.def("layer_norm_backward", &layer_norm_backward);
}

}  // namespace fusedlstm::bindings
