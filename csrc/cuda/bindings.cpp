// The cell and sequences.
#include "bindings.h"

#include <stdexcept>
#include <type_traits>

#include "binding_types.h"
#include "cell.h"
#include "small_sequence.h"

namespace fusedlstm::cuda {
namespace {

// What serves a sequence.
struct Plan {
  std::string kernel;  // its name, or empty for none
  std::string reason;
  std::size_t workspace = 0;  // bytes
};

bool is_wide(const std::string& number) { return number == "float32" || number == "float64"; }

Plan plan_for(const std::string& number, Index units) {
  if (!is_wide(number)) return {"", "there is no kernel for " + number + " yet"};
  const std::string most = std::to_string(most_small_units) + " units, ";
  if (units > most_small_units)
    return {"", "there is no kernel for more than " + most + "got " + std::to_string(units)};
  return {"small", "at most " + most + "whose recurrent weights one multiprocessor keeps"};
}

// The body is compiled for those types alone that the kernels of today have.
template <class Body>
void with_wide_type(const std::string& number, const Body& body) {
  with_number_type(number, [&](auto zero) {
    using T = decltype(zero);
    if constexpr (std::is_floating_point_v<T>) {
      body(zero);
    } else {
      throw py::type_error("number: expected float32 or float64, which have kernels, got " + number);
    }
  });
}

void check_plan(const std::string& number, Index units) {
  const Plan plan = plan_for(number, units);
  if (plan.kernel.empty()) throw std::invalid_argument("sequence: " + plan.reason);
}

void forward_of_cell(const std::string& number, Index batch, Index units, const Address& z,
                     const Address& c_prev, const Address& h, const Address& c, const Address& gates,
                     const py::object& options, std::uintptr_t stream) {
  with_wide_type(number, [&](auto zero) {
    using T = decltype(zero);
    const GivenOptions<T> given(options, std::nullopt);
    cell_forward<T>({.batch = batch,
                     .units = units,
                     .z = at<const T>(z),
                     .c_prev = at<const T>(c_prev),
                     .h = at<T>(h),
                     .c = at<T>(c),
                     .gates = at<T>(gates)},
                    given.get(), stream_at(stream));
  });
}

void backward_of_cell(const std::string& number, Index batch, Index units, const Address& gates,
                      const Address& c_prev, const Address& c, const Address& dh, const Address& dc,
                      const Address& dz, const Address& dc_prev, const py::object& options,
                      std::uintptr_t stream) {
  with_wide_type(number, [&](auto zero) {
    using T = decltype(zero);
    const GivenOptions<T> given(options, std::nullopt);
    cell_backward<T>({.batch = batch,
                      .units = units,
                      .gates = at<const T>(gates),
                      .c_prev = at<const T>(c_prev),
                      .c = at<const T>(c),
                      .dh = at<const T>(dh),
                      .dc = at<const T>(dc),
                      .dz = at<T>(dz),
                      .dc_prev = at<T>(dc_prev)},
                     given.get(), stream_at(stream));
  });
}

void forward_of_sequence(const std::string& number, Index batch, Index steps, Index units, const Address& z_x,
                         const Address& recurrent_kernel, const Address& h0, const Address& c0,
                         const Address& lengths, const Address& recurrent_mask, bool zero_padding,
                         Index first_step, const Address& y, const Address& h, const Address& c,
                         const Address& gates, const Address& cells, const py::object& options,
                         std::optional<std::uint64_t> zoneout_seed, const Address&, std::uintptr_t stream) {
  check_plan(number, units);
  with_wide_type(number, [&](auto zero) {
    using T = decltype(zero);
    using State = StateOf<T>;
    const GivenOptions<State> given(options, zoneout_seed);
    small_forward<T>({.batch = batch,
                      .steps = steps,
                      .units = units,
                      .z_x = at<const T>(z_x),
                      .recurrent_kernel = at<const T>(recurrent_kernel),
                      .h0 = at<const T>(h0),
                      .c0 = at<const State>(c0),
                      .lengths = at<const Index>(lengths),
                      .recurrent_mask = at<const T>(recurrent_mask),
                      .zero_padding = zero_padding,
                      .first_step = first_step,
                      .y = at<T>(y),
                      .h = at<T>(h),
                      .c = at<State>(c),
                      .gates = at<T>(gates),
                      .cells = at<State>(cells)},
                     given.get(), stream_at(stream));
  });
}

void backward_of_sequence(const std::string& number, Index batch, Index steps, Index units,
                          const Address& recurrent_kernel, const Address& lengths,
                          const Address& recurrent_mask, bool zero_padding, Index first_step,
                          const Address& cells, const Address& dy, const Address& dh, const Address& dc,
                          const Address& gates, const Address& dh0, const Address& dc0,
                          const Address& dpeepholes, const py::object& options,
                          std::optional<std::uint64_t> zoneout_seed, const Address&, std::uintptr_t stream) {
  check_plan(number, units);
  with_wide_type(number, [&](auto zero) {
    using T = decltype(zero);
    using State = StateOf<T>;
    const GivenOptions<State> given(options, zoneout_seed);
    small_backward<T>({.batch = batch,
                       .steps = steps,
                       .units = units,
                       .recurrent_kernel = at<const T>(recurrent_kernel),
                       .lengths = at<const Index>(lengths),
                       .recurrent_mask = at<const T>(recurrent_mask),
                       .zero_padding = zero_padding,
                       .first_step = first_step,
                       .cells = at<const State>(cells),
                       .dy = at<const T>(dy),
                       .dh = at<const T>(dh),
                       .dc = at<const State>(dc),
                       .gates = at<T>(gates),
                       .dh0 = at<T>(dh0),
                       .dc0 = at<State>(dc0),
                       .dpeepholes = at<State>(dpeepholes)},
                      given.get(), stream_at(stream));
  });
}

py::dict plan_of_sequence(const std::string& number, Index, Index, Index units, bool, bool) {
  with_number_type(number, [](auto) {});
  const Plan plan = plan_for(number, units);
  py::dict result;
  result["kernel"] = plan.kernel;
  result["reason"] = plan.reason;
  result["workspace"] = plan.workspace;
  return result;
}

void bind_cell(py::module_& module) {
  module.def("cell_forward", &forward_of_cell, py::kw_only(), py::arg("number"), py::arg("batch"),
             py::arg("units"), py::arg("z"), py::arg("c_prev"), py::arg("h"), py::arg("c"), py::arg("gates"),
             py::arg("options") = py::none(), py::arg("stream") = 0);
  module.def("cell_backward", &backward_of_cell, py::kw_only(), py::arg("number"), py::arg("batch"),
             py::arg("units"), py::arg("gates"), py::arg("c_prev"), py::arg("c"), py::arg("dh"),
             py::arg("dc") = py::none(), py::arg("dz"), py::arg("dc_prev"), py::arg("options") = py::none(),
             py::arg("stream") = 0);
}

void bind_sequence(py::module_& module) {
  module.def("sequence_plan", &plan_of_sequence, py::arg("number"), py::arg("batch"), py::arg("steps"),
             py::arg("units"), py::arg("backward"), py::arg("has_options"));
  module.def("sequence_forward", &forward_of_sequence, py::kw_only(), py::arg("number"), py::arg("batch"),
             py::arg("steps"), py::arg("units"), py::arg("z_x"), py::arg("recurrent_kernel"),
             py::arg("h0") = py::none(), py::arg("c0") = py::none(), py::arg("lengths") = py::none(),
             py::arg("recurrent_mask") = py::none(), py::arg("zero_padding") = false,
             py::arg("first_step") = 0, py::arg("y"), py::arg("h"), py::arg("c"),
             py::arg("gates") = py::none(), py::arg("cells") = py::none(), py::arg("options") = py::none(),
             py::arg("zoneout_seed") = py::none(), py::arg("workspace") = py::none(), py::arg("stream") = 0);
  module.def("sequence_backward", &backward_of_sequence, py::kw_only(), py::arg("number"), py::arg("batch"),
             py::arg("steps"), py::arg("units"), py::arg("recurrent_kernel"), py::arg("lengths") = py::none(),
             py::arg("recurrent_mask") = py::none(), py::arg("zero_padding") = false,
             py::arg("first_step") = 0, py::arg("cells"), py::arg("dy") = py::none(),
             py::arg("dh") = py::none(), py::arg("dc") = py::none(), py::arg("gates"), py::arg("dh0"),
             py::arg("dc0"), py::arg("dpeepholes") = py::none(), py::arg("options") = py::none(),
             py::arg("zoneout_seed") = py::none(), py::arg("workspace") = py::none(), py::arg("stream") = 0);
}

}  // namespace

void bind_kernels(py::module_& module) {
  bind_cell(module);
  bind_sequence(module);
  bind_arrays(module);
}

}  // namespace fusedlstm::cuda
