// The cell and sequences.
#include "bindings.h"

#include <stdexcept>
#include <tuple>
#include <type_traits>

#include "binding_types.h"
#include "cell.h"
#include "grid_sequence.h"
#include "plan.h"
#include "small_sequence.h"

namespace fusedlstm::cuda {
namespace {

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

std::optional<SequenceKernel> wanted_kernel(const std::optional<std::string>& name) {
  if (!name) return std::nullopt;
  for (const SequenceKernel kernel : {SequenceKernel::small, SequenceKernel::grid}) {
    if (*name == name_of(kernel)) return kernel;
  }
  throw std::invalid_argument("kernel: expected 'small' or 'grid', got '" + *name + "'");
}

// Calls run(zero, tensor_cores) with a value of the type of arrays.
template <class Run>
void with_arithmetic(NumberType number, const Run& run) {
  switch (number) {
    case NumberType::float32:
      return run(float{}, std::false_type{});
    case NumberType::tf32:
      return run(float{}, std::true_type{});
    case NumberType::float64:
      return run(double{}, std::false_type{});
    case NumberType::float16:
      return run(__half{}, std::true_type{});
    case NumberType::bfloat16:
      return run(__nv_bfloat16{}, std::true_type{});
  }
}

// Plans and runs a problem in either direction, a SequenceForward or SequenceBackward that make(zero)
// returns.
template <class Make>
void run_sequence(const SequenceQuery& query, const Make& make, const py::object& options,
                  std::optional<std::uint64_t> zoneout_seed, const Address& workspace,
                  std::uintptr_t stream) {
  const SequencePlan plan = plan_sequence(query, current_device());
  if (plan.workspace > 0 && !workspace) {
    throw std::invalid_argument("workspace: expected " + std::to_string(plan.workspace) + " bytes, got None");
  }
  with_arithmetic(query.number, [&]<bool tensor_cores>(auto zero, std::bool_constant<tensor_cores>) {
    using T = decltype(zero);
    const GivenOptions<StateOf<T>> given(options, zoneout_seed);
    const auto problem = make(zero);
    constexpr bool forward = std::is_same_v<std::decay_t<decltype(problem)>, SequenceForward<T>>;
    if (plan.kernel == SequenceKernel::grid) {
      auto* const memory = at<void>(workspace);
      if constexpr (forward) {
        grid_forward<T, tensor_cores>(problem, given.get(), plan.layout, memory, stream_at(stream));
      } else {
        grid_backward<T, tensor_cores>(problem, given.get(), plan.layout, memory, stream_at(stream));
      }
    } else if constexpr (!tensor_cores && forward) {
      small_forward<T>(problem, given.get(), stream_at(stream));
    } else if constexpr (!tensor_cores) {
      small_backward<T>(problem, given.get(), stream_at(stream));
    }
  });
}

void forward_of_sequence(const std::string& number, Index batch, Index steps, Index units, const Address& z_x,
                         const Address& recurrent_kernel, const Address& h0, const Address& c0,
                         const Address& lengths, const Address& recurrent_mask, bool zero_padding,
                         Index first_step, const Address& y, const Address& h, const Address& c,
                         const Address& gates, const Address& cells, const py::object& options,
                         std::optional<std::uint64_t> zoneout_seed, const std::optional<std::string>& kernel,
                         const Address& workspace, std::uintptr_t stream) {
  const SequenceQuery query{.number = number_type(number),
                            .direction = Direction::forward,
                            .batch = batch,
                            .steps = steps,
                            .units = units,
                            .options = !options.is_none(),
                            .wanted = wanted_kernel(kernel)};
  const auto make = [&](auto zero) {
    using T = decltype(zero);
    using State = StateOf<T>;
    return SequenceForward<T>{.batch = batch,
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
                              .cells = at<State>(cells)};
  };
  run_sequence(query, make, options, zoneout_seed, workspace, stream);
}

void backward_of_sequence(const std::string& number, Index batch, Index steps, Index units,
                          const Address& recurrent_kernel, const Address& lengths,
                          const Address& recurrent_mask, bool zero_padding, Index first_step,
                          const Address& cells, const Address& dy, const Address& dh, const Address& dc,
                          const Address& gates, const Address& dh0, const Address& dc0,
                          const Address& dpeepholes, const py::object& options,
                          std::optional<std::uint64_t> zoneout_seed, const std::optional<std::string>& kernel,
                          const Address& workspace, std::uintptr_t stream) {
  const SequenceQuery query{.number = number_type(number),
                            .direction = Direction::backward,
                            .batch = batch,
                            .steps = steps,
                            .units = units,
                            .options = !options.is_none(),
                            .wanted = wanted_kernel(kernel)};
  const auto make = [&](auto zero) {
    using T = decltype(zero);
    using State = StateOf<T>;
    return SequenceBackward<T>{.batch = batch,
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
                               .dpeepholes = at<State>(dpeepholes)};
  };
  run_sequence(query, make, options, zoneout_seed, workspace, stream);
}

// For the current device, or one whose (major, minor, multiprocessors, shared_per_block) are given.
py::dict plan_of_sequence(const std::string& number, Index batch, Index steps, Index units, bool backward,
                          bool has_options, const std::optional<std::string>& kernel,
                          const std::optional<std::tuple<int, int, int, std::size_t>>& device) {
  const auto properties = [&]() -> DeviceProperties {
    if (!device) return current_device();
    const auto& [major, minor, multiprocessors, shared_per_block] = *device;
    return {major, minor, multiprocessors, shared_per_block};
  };
  const SequencePlan plan = plan_sequence({.number = number_type(number),
                                           .direction = backward ? Direction::backward : Direction::forward,
                                           .batch = batch,
                                           .steps = steps,
                                           .units = units,
                                           .options = has_options,
                                           .wanted = wanted_kernel(kernel)},
                                          properties());
  py::dict result;
  result["kernel"] = name_of(plan.kernel);
  result["reason"] = plan.reason;
  result["workspace"] = plan.workspace;
  const GridLayout& layout = plan.layout;
  result["blocks"] = py::make_tuple(layout.unit_blocks, layout.row_slices);
  result["rows"] = layout.rows;
  result["slice_units"] = layout.slice_units;
  result["slices"] = layout.slices;
  result["resident"] = layout.resident;
  result["chunks"] = layout.per_warp;
  result["chunks_in_shared"] = layout.in_shared;
  result["shared_bytes"] = layout.shared_bytes;
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
             py::arg("units"), py::arg("backward"), py::arg("has_options"), py::arg("kernel") = py::none(),
             py::arg("device") = py::none());
  module.def("sequence_forward", &forward_of_sequence, py::kw_only(), py::arg("number"), py::arg("batch"),
             py::arg("steps"), py::arg("units"), py::arg("z_x"), py::arg("recurrent_kernel"),
             py::arg("h0") = py::none(), py::arg("c0") = py::none(), py::arg("lengths") = py::none(),
             py::arg("recurrent_mask") = py::none(), py::arg("zero_padding") = false,
             py::arg("first_step") = 0, py::arg("y"), py::arg("h"), py::arg("c"),
             py::arg("gates") = py::none(), py::arg("cells") = py::none(), py::arg("options") = py::none(),
             py::arg("zoneout_seed") = py::none(), py::arg("kernel") = py::none(),
             py::arg("workspace") = py::none(), py::arg("stream") = 0);
  module.def("sequence_backward", &backward_of_sequence, py::kw_only(), py::arg("number"), py::arg("batch"),
             py::arg("steps"), py::arg("units"), py::arg("recurrent_kernel"), py::arg("lengths") = py::none(),
             py::arg("recurrent_mask") = py::none(), py::arg("zero_padding") = false,
             py::arg("first_step") = 0, py::arg("cells"), py::arg("dy") = py::none(),
             py::arg("dh") = py::none(), py::arg("dc") = py::none(), py::arg("gates"), py::arg("dh0"),
             py::arg("dc0"), py::arg("dpeepholes") = py::none(), py::arg("options") = py::none(),
             py::arg("zoneout_seed") = py::none(), py::arg("kernel") = py::none(),
             py::arg("workspace") = py::none(), py::arg("stream") = 0);
}

}  // namespace

void bind_kernels(py::module_& module) {
  bind_cell(module);
  bind_sequence(module);
  bind_arrays(module);
}

}  // namespace fusedlstm::cuda
