// The cell alone, dropout and optimizer updates on NumPy arrays.
#include "../cpu/dense.h"
#include "checks.h"
#include "module.h"
#include "strict.h"

namespace fusedlstm::bindings {
namespace {

KernelRun run_of(const char* operation, Number number, int threads) {
  return {operation, kernels().name, number == Number::f64, threads, false};
}

py::tuple cell_forward(const py::object& z, const py::object& c_prev) {
  check_kernels();
  const Number number = number_type("z", z);
  const py::array state = contiguous("c_prev", c_prev, number, {{"B"}, {"H"}});
  const Index B = state.shape(0);
  const Index H = state.shape(1);
  const py::array input = contiguous("z", z, number, {{"B", B}, {"4H", 4 * H}});
  return with_number(number, [&](auto zero) {
    using T = decltype(zero);
    py::array h = new_array<T>({B, H});
    py::array c = new_array<T>({B, H});
    py::array gates = new_array<T>({B, 4 * H});
    T* h_out = mutable_data<T>(h);
    T* c_out = mutable_data<T>(c);
    T* gates_out = mutable_data<T>(gates);
    const auto run = kernels().of<T>().cell_forward;
    {
      const py::gil_scoped_release nogil;
      const int threads =
          parallel(B, elementwise_grain / (8 * std::max<Index>(H, 1)) + 1, [&](Range rows, const Worker&) {
            run(H, rows, data_of<T>(input), data_of<T>(state), h_out, c_out, gates_out);
          });
      note_run(run_of("cell_forward", number, threads));
    }
    return py::make_tuple(h, c, gates);
  });
}

py::tuple cell_backward(const py::object& gates, const py::object& c_prev, const py::object& c,
                        const py::object& dh, const py::object& dc) {
  check_kernels();
  const Number number = number_type("gates", gates);
  const py::array previous = contiguous("c_prev", c_prev, number, {{"B"}, {"H"}});
  const Index B = previous.shape(0);
  const Index H = previous.shape(1);
  const py::array activated = contiguous("gates", gates, number, {{"B", B}, {"4H", 4 * H}});
  const py::array state = contiguous("c", c, number, {{"B", B}, {"H", H}});
  const py::array dh_in = contiguous("dh", dh, number, {{"B", B}, {"H", H}});
  py::object dc_in = dc;
  if (!dc.is_none()) dc_in = contiguous("dc", dc, number, {{"B", B}, {"H", H}});
  return with_number(number, [&](auto zero) {
    using T = decltype(zero);
    py::array dz = new_array<T>({B, 4 * H});
    py::array dc_prev = new_array<T>({B, H});
    T* dz_out = mutable_data<T>(dz);
    T* dc_out = mutable_data<T>(dc_prev);
    const T* dc_data = data_or_null<T>(dc_in);
    const auto run = kernels().of<T>().cell_backward;
    {
      const py::gil_scoped_release nogil;
      const int threads =
          parallel(B, elementwise_grain / (8 * std::max<Index>(H, 1)) + 1, [&](Range rows, const Worker&) {
            run(H, rows, data_of<T>(activated), data_of<T>(previous), data_of<T>(state), data_of<T>(dh_in),
                dc_data, dz_out, dc_out);
          });
      note_run(run_of("cell_backward", number, threads));
    }
    return py::make_tuple(dz, dc_prev);
  });
}

// x and y as (rows, steps, features): 2-D and other arrays have one step.
py::array dropout(const py::object& x, double rate, std::uint64_t seed, bool share_steps,
                  const py::object& out_or_none) {
  check_kernels();
  const Number number = number_type("x", x);
  const auto given = py::reinterpret_borrow<py::array>(x);
  if (!(rate >= 0.0 && rate < 1.0)) raise_value("rate", "a number in [0, 1)", std::to_string(rate));
  if (given.ndim() < 1) raise_value("x", "at least one dimension", "a scalar");
  if (share_steps && given.ndim() != 3)
    raise_value("x", "shape (B, T, I) to share steps", "shape " + shape_text(given));
  const py::array input = contiguous_of_any_shape("x", x, number);
  const py::array target =
      !out_or_none.is_none()
          ? direct_like("out", out_or_none, number, given, true)
          : with_number(number, [&](auto zero) {
              return new_array<decltype(zero)>({given.shape(), given.shape() + given.ndim()});
            });
  if (overlap(target, input) && target.data() != input.data()) {
    raise_value("out", "x itself or an array apart from it", "one that overlaps x");
  }
  const Index features = given.shape(given.ndim() - 1);
  const Index steps = share_steps ? given.shape(1) : 1;
  const Index per_row = std::max<Index>(steps * features, 1);
  const Index rows = given.size() / per_row;
  if (features > std::numeric_limits<std::uint32_t>::max())
    raise_value("x", "fewer than 2^32 features", "more");
  with_number(number, [&](auto zero) {
    using T = decltype(zero);
    const auto threshold = static_cast<std::uint32_t>(std::min(rate * 0x1p32, 0x1p32 - 1));
    const T scale = static_cast<T>(1.0 / (1.0 - rate));
    const Sequence<const T> source{data_of<T>(input), steps * features, features};
    T* out = mutable_data<T>(target);
    const auto run = kernels().of<T>().dropout;
    const py::gil_scoped_release nogil;
    const int threads = parallel(rows, elementwise_grain / per_row + 1, [&](Range range, const Worker&) {
      run(range, steps, features, share_steps, seed, threshold, scale, source, out);
    });
    note_run(run_of("dropout", number, threads));
  });
  return target;
}

// The arrays of an optimizer update: of one dtype and shape, all but the gradient written in place.
struct Slots {
  Number number;
  py::array param;
  py::array grad;

  Slots(const py::object& param_object, const py::object& grad_object)
      : number(number_type("param", param_object)), param(py::reinterpret_borrow<py::array>(param_object)) {
    check_kernels();
    direct_like("param", param_object, number, param, true);
    grad = direct_like("grad", grad_object, number, param, false);
  }

  // Null for None.
  template <class T>
  T* optional(const char* name, const py::object& object) const {
    return object.is_none() ? nullptr : mutable_data<T>(direct_like(name, object, number, param, true));
  }

  template <class T>
  T* required(const char* name, const py::object& object) const {
    if (object.is_none()) raise_type(name, "an array", "None");
    return optional<T>(name, object);
  }
};

template <class T, class Body>
void update(const char* operation, const Slots& slots, const Body& body) {
  T* param = mutable_data<T>(slots.param);
  const T* grad = data_of<T>(slots.grad);
  const Index size = slots.param.size();
  const py::gil_scoped_release nogil;
  const int threads =
      parallel(size, elementwise_grain, [&](Range range, const Worker&) { body(range, param, grad); });
  note_run(run_of(operation, slots.number, threads));
}

UpdateSettings settings(double learning_rate, double weight_decay, double clipvalue, double scale) {
  if (!(clipvalue > 0.0)) raise_value("clipvalue", "a positive number", std::to_string(clipvalue));
  return {learning_rate, weight_decay, clipvalue, scale};
}

void sgd_update(const py::object& param, const py::object& grad, const py::object& velocity,
                double learning_rate, double momentum, bool nesterov, double weight_decay, double clipvalue,
                double scale) {
  const Slots slots(param, grad);
  if (velocity.is_none() && momentum != 0.0)
    raise_type("velocity", "an array, since momentum is not 0", "None");
  with_number(slots.number, [&](auto zero) {
    using T = decltype(zero);
    const SgdRule<T> rule(settings(learning_rate, weight_decay, clipvalue, scale), momentum, nesterov);
    T* v = slots.optional<T>("velocity", velocity);
    update<T>("sgd_update", slots,
              [&](Range range, T* p, const T* g) { kernels().of<T>().sgd(rule, range, p, g, v); });
  });
}

void rmsprop_update(const py::object& param, const py::object& grad, const py::object& mean_square,
                    const py::object& mean_grad, const py::object& velocity, double learning_rate, double rho,
                    double momentum, double epsilon, double weight_decay, double clipvalue, double scale) {
  const Slots slots(param, grad);
  if (velocity.is_none() && momentum != 0.0)
    raise_type("velocity", "an array, since momentum is not 0", "None");
  with_number(slots.number, [&](auto zero) {
    using T = decltype(zero);
    const RmspropRule<T> rule(settings(learning_rate, weight_decay, clipvalue, scale), rho, momentum,
                              epsilon);
    T* square = slots.required<T>("mean_square", mean_square);
    T* mean = slots.optional<T>("mean_grad", mean_grad);
    T* v = slots.optional<T>("velocity", velocity);
    update<T>("rmsprop_update", slots, [&](Range range, T* p, const T* g) {
      kernels().of<T>().rmsprop(rule, range, p, g, square, mean, v);
    });
  });
}

void adam_update(const py::object& param, const py::object& grad, const py::object& m, const py::object& v,
                 const py::object& vhat, double learning_rate, std::int64_t step, double beta_1,
                 double beta_2, double epsilon, double weight_decay, double clipvalue, double scale) {
  const Slots slots(param, grad);
  if (step < 1) raise_value("step", "1 or more", std::to_string(step));
  with_number(slots.number, [&](auto zero) {
    using T = decltype(zero);
    const AdamRule<T> rule(settings(learning_rate, weight_decay, clipvalue, scale), step, beta_1, beta_2,
                           epsilon);
    T* first = slots.required<T>("m", m);
    T* second = slots.required<T>("v", v);
    T* largest = slots.optional<T>("vhat", vhat);
    update<T>("adam_update", slots, [&](Range range, T* p, const T* g) {
      kernels().of<T>().adam(rule, range, p, g, first, second, largest);
    });
  });
}

double squared_norm(const py::object& a) {
  check_kernels();
  const Number number = number_type("a", a);
  const py::array values = contiguous_of_any_shape("a", a, number);
  return with_number(number, [&](auto zero) {
    using T = decltype(zero);
    const py::gil_scoped_release nogil;
    return kernels().of<T>().squared_norm({0, values.size()}, data_of<T>(values));
  });
}

}  // namespace

void bind_elementwise(py::module_& module) {
  module.def("cell_forward", &cell_forward);
  module.def("cell_backward", &cell_backward);
  module.def("dropout", &dropout);
  module.def("sgd_update", &sgd_update);
  module.def("rmsprop_update", &rmsprop_update);
  module.def("adam_update", &adam_update);
  module.def("squared_norm", &squared_norm);
}

}  // namespace fusedlstm::bindings
