// The cell and sequences.
#include "bindings.h"

#include <stdexcept>
#include <tuple>
#include <type_traits>

#include "binding_types.h"
#include "cell.h"
#include "grid_sequence.h"
#include "plan.h"
#include "small_half_sequence.h"
#include "small_sequence.h"
#include "staged_sequence.h"

namespace fusedlstm::cuda {
namespace {

void forward_of_cell(const std::string& number, Index batch, Index units, const Address& z,
                     const Address& c_prev, const Address& h, const Address& c, const Address& gates,
                     const py::object& options, const Address& peepholes, std::uintptr_t stream) {
  with_wide_type(number, [&](auto zero) {
    using T = decltype(zero);
    const GivenOptions<T> given(options, peepholes, std::nullopt);
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
                      const Address& peepholes, std::uintptr_t stream) {
  with_wide_type(number, [&](auto zero) {
    using T = decltype(zero);
    const GivenOptions<T> given(options, peepholes, std::nullopt);
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
  for (const SequenceKernel kernel : {SequenceKernel::small, SequenceKernel::grid, SequenceKernel::staged}) {
    if (*name == name_of(kernel)) return kernel;
  }
  throw std::invalid_argument("kernel: expected 'small', 'grid' or 'staged', got '" + *name + "'");
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

// Parameters of a layer-normalized cell: epsilon, and the addresses of gamma_recurrent, gamma_cell,
// beta_cell.
using NormAddresses = std::optional<std::tuple<double, std::uintptr_t, std::uintptr_t, std::uintptr_t>>;

template <class T>
RecurrentNorm<T> norm_of(const Arguments& given) {
  const auto norm = given.get<NormAddresses>("norm");
  if (!norm) return {};
  const auto& [epsilon, gamma_recurrent, gamma_cell, beta_cell] = *norm;
  return {.gamma_recurrent = at<const T>(gamma_recurrent),
          .gamma_cell = at<const T>(gamma_cell),
          .beta_cell = at<const T>(beta_cell),
          .epsilon = static_cast<StateOf<T>>(epsilon)};
}

template <class T>
SequenceForward<T> forward_problem(const Arguments& given) {
  using State = StateOf<T>;
  return {.batch = given.index("batch"),
          .steps = given.index("steps"),
          .units = given.index("units"),
          .z_x = given.at<const T>("z_x"),
          .bias = given.at<const T>("bias"),
          .recurrent_kernel = given.at<const T>("recurrent_kernel"),
          .h0 = given.at<const T>("h0"),
          .c0 = given.at<const State>("c0"),
          .lengths = given.at<const Index>("lengths"),
          .recurrent_mask = given.at<const T>("recurrent_mask"),
          .zero_padding = given.flag("zero_padding"),
          .first_step = given.index("first_step"),
          .y = given.at<T>("y"),
          .h = given.at<T>("h"),
          .c = given.at<State>("c"),
          .gates = given.at<T>("gates"),
          .cells = given.at<State>("cells"),
          .outputs = given.index("outputs"),
          .projection = given.at<const T>("projection"),
          .m = given.at<T>("m"),
          .norm = norm_of<T>(given),
          .normalized = given.at<T>("normalized"),
          .moments = given.at<State>("moments")};
}

template <class T>
SequenceBackward<T> backward_problem(const Arguments& given) {
  using State = StateOf<T>;
  return {.batch = given.index("batch"),
          .steps = given.index("steps"),
          .units = given.index("units"),
          .recurrent_kernel = given.at<const T>("recurrent_kernel"),
          .lengths = given.at<const Index>("lengths"),
          .recurrent_mask = given.at<const T>("recurrent_mask"),
          .zero_padding = given.flag("zero_padding"),
          .first_step = given.index("first_step"),
          .cells = given.at<const State>("cells"),
          .dy = given.at<const T>("dy"),
          .dh = given.at<const T>("dh"),
          .dc = given.at<const State>("dc"),
          .gates = given.at<T>("gates"),
          .dh0 = given.at<T>("dh0"),
          .dc0 = given.at<State>("dc0"),
          .dpeepholes = given.at<State>("dpeepholes"),
          .outputs = given.index("outputs"),
          .projection = given.at<const T>("projection"),
          .dprojected = given.at<T>("dprojected"),
          .norm = norm_of<T>(given),
          .normalized = given.at<T>("normalized"),
          .moments = given.at<const State>("moments"),
          .dnorm = given.at<State>("dnorm")};
}

// The keyword arguments are the members of SequenceForward or SequenceBackward, and number, options,
// peepholes, zoneout_seed, kernel, workspace and stream.
template <Direction direction>
void run_sequence(const py::kwargs& keywords) {
  constexpr bool forward = direction == Direction::forward;
  const Arguments given(keywords);
  const py::object options = given.find("options");
  const SequenceQuery query{.number = number_type(given.get<std::string>("number")),
                            .direction = direction,
                            .batch = given.index("batch"),
                            .steps = given.index("steps"),
                            .units = given.index("units"),
                            .options = !options.is_none(),
                            .outputs = given.index("outputs"),
                            .normalized = !given.find("norm").is_none(),
                            .wanted = wanted_kernel(given.get<std::optional<std::string>>("kernel"))};
  const auto peepholes = given.get<Address>("peepholes");
  const auto zoneout_seed = given.get<std::optional<std::uint64_t>>("zoneout_seed");
  void* const workspace = given.at<void>("workspace");
  const cudaStream_t stream = stream_at(given.get<std::uintptr_t>("stream"));
  const SequencePlan plan = plan_sequence(query, current_device());
  if (plan.workspace > 0 && workspace == nullptr) {
    throw std::invalid_argument("workspace: expected " + std::to_string(plan.workspace) + " bytes, got None");
  }
  with_arithmetic(query.number, [&]<bool tensor_cores>(auto zero, std::bool_constant<tensor_cores>) {
    using T = decltype(zero);
    const GivenOptions<StateOf<T>> cell(options, peepholes, zoneout_seed);
    if constexpr (forward) {
      const SequenceForward<T> problem = forward_problem<T>(given);
      given.check_names("sequence_forward");
      switch (plan.kernel) {
        case SequenceKernel::small:
          if constexpr (sizeof(T) == 2) {
            small_half_forward<T>(problem, cell.get(), stream);
          } else if constexpr (!tensor_cores) {
            small_forward<T>(problem, cell.get(), stream);
          }
          break;
        case SequenceKernel::grid:
          grid_forward<T, tensor_cores>(problem, cell.get(), plan.layout, workspace, stream);
          break;
        case SequenceKernel::staged:
          staged_forward<T, tensor_cores>(problem, cell.get(), plan.stages, workspace, stream);
          break;
      }
    } else {
      const SequenceBackward<T> problem = backward_problem<T>(given);
      given.check_names("sequence_backward");
      switch (plan.kernel) {
        case SequenceKernel::small:
          if constexpr (sizeof(T) == 2) {
            small_half_backward<T>(problem, cell.get(), stream);
          } else if constexpr (!tensor_cores) {
            small_backward<T>(problem, cell.get(), stream);
          }
          break;
        case SequenceKernel::grid:
          grid_backward<T, tensor_cores>(problem, cell.get(), plan.layout, workspace, stream);
          break;
        case SequenceKernel::staged:
          staged_backward<T, tensor_cores>(problem, cell.get(), plan.stages, workspace, stream);
          break;
      }
    }
  });
}

// For the current device, or one whose (major, minor, multiprocessors, shared_per_block) are given.
py::dict plan_of_sequence(const std::string& number, Index batch, Index steps, Index units, bool backward,
                          bool has_options, Index outputs, bool normalized,
                          const std::optional<std::string>& kernel,
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
                                           .outputs = outputs,
                                           .normalized = normalized,
                                           .wanted = wanted_kernel(kernel)},
                                          properties());
  py::dict result;
  result["kernel"] = name_of(plan.kernel);
  result["reason"] = plan.reason;
  result["workspace"] = plan.workspace;
  if (plan.kernel == SequenceKernel::staged) {
    const StagedLayout& stages = plan.stages;
    result["blocks"] = py::make_tuple(stages.unit_blocks, stages.row_slices);
    result["rows"] = stages.rows;
    result["slices"] = stages.slices;
    result["output_slices"] = stages.output_slices;
    result["shared_bytes"] = stages.shared_bytes;
  }
  if (plan.kernel == SequenceKernel::grid) {
    const GridLayout& layout = plan.layout;
    result["blocks"] = py::make_tuple(layout.unit_blocks, layout.row_slices);
    result["rows"] = layout.rows;
    result["rows_at_once"] = layout.groups * rows_of_group;
    result["slice_units"] = layout.slice_units;
    result["slices"] = layout.slices;
    result["form"] = name_of(layout.form);
    result["chunks"] = layout.per_warp;
    result["chunks_in_shared"] = layout.in_shared;
    result["chunks_in_workspace"] = layout.anew;
    result["shared_bytes"] = layout.shared_bytes;
  }
  return result;
}

void bind_cell(py::module_& module) {
  module.def("cell_forward", &forward_of_cell, py::kw_only(), py::arg("number"), py::arg("batch"),
             py::arg("units"), py::arg("z"), py::arg("c_prev"), py::arg("h"), py::arg("c"), py::arg("gates"),
             py::arg("options") = py::none(), py::arg("peepholes") = py::none(), py::arg("stream") = 0);
  module.def("cell_backward", &backward_of_cell, py::kw_only(), py::arg("number"), py::arg("batch"),
             py::arg("units"), py::arg("gates"), py::arg("c_prev"), py::arg("c"), py::arg("dh"),
             py::arg("dc") = py::none(), py::arg("dz"), py::arg("dc_prev"), py::arg("options") = py::none(),
             py::arg("peepholes") = py::none(), py::arg("stream") = 0);
}

void bind_sequence(py::module_& module) {
  module.def("sequence_plan", &plan_of_sequence, py::arg("number"), py::arg("batch"), py::arg("steps"),
             py::arg("units"), py::arg("backward"), py::arg("has_options"), py::arg("outputs") = 0,
             py::arg("normalized") = false, py::arg("kernel") = py::none(), py::arg("device") = py::none());
  module.def("sequence_forward", &run_sequence<Direction::forward>);
  module.def("sequence_backward", &run_sequence<Direction::backward>);
}

}  // namespace

void bind_kernels(py::module_& module) {
  bind_cell(module);
  bind_sequence(module);
  bind_arrays(module);
}

}  // namespace fusedlstm::cuda
