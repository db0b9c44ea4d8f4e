#include "plan.h"

#include <array>
#include <limits>
#include <stdexcept>
#include <utility>

#include "small_sequence.h"

namespace fusedlstm::cuda {
namespace {

constexpr std::array<std::pair<const char*, NumberType>, 5> number_names{
    {{"float32", NumberType::float32},
     {"tf32", NumberType::tf32},
     {"float64", NumberType::float64},
     {"float16", NumberType::float16},
     {"bfloat16", NumberType::bfloat16}}};

const char* name_of(NumberType number) {
  for (const auto& [name, type] : number_names) {
    if (type == number) return name;
  }
  throw std::invalid_argument("number: expected one of the known types");
}

bool on_tensor_cores(NumberType number) {
  return number != NumberType::float32 && number != NumberType::float64;
}

int bytes_of(NumberType number) {
  switch (number) {
    case NumberType::float64:
      return 8;
    case NumberType::float32:
    case NumberType::tf32:
      return 4;
    case NumberType::float16:
    case NumberType::bfloat16:
      break;
  }
  return 2;
}

std::string kib(std::size_t bytes) { return std::to_string((bytes + 1023) / 1024) + " KiB"; }

bool has_stages(const SequenceQuery& query) { return query.normalized || query.outputs > 0; }

std::string stages_of(const SequenceQuery& query) {
  return query.normalized ? query.outputs > 0 ? "layer normalization and a projection" : "layer normalization"
                          : "a projection";
}

// Why the device's tensor cores cannot do it, or nothing.
std::string against_tensor_cores(const SequenceQuery& query, const DeviceProperties& device) {
  const std::string capability = std::to_string(device.major) + "." + std::to_string(device.minor);
  if (on_tensor_cores(query.number) && device.major < 8) {
    // Those of 7.5 know float16, in other pieces (ptx.cuh).
    return std::string("tensor cores multiply ") + name_of(query.number) +
           (query.number == NumberType::float16 ? " in pieces of 16 x 8 x 16" : "") +
           " from compute capability 8.0 on, and this one is " + capability;
  }
  return "";
}

// Why the small kernel cannot do it, or nothing.
std::string against_small(const SequenceQuery& query, const DeviceProperties& device) {
  if (has_stages(query)) return "its blocks do not meet, as " + stages_of(query) + " wants";
  if (query.number == NumberType::tf32) return std::string("it has no form for ") + name_of(query.number);
  const std::string no_tensor_cores = against_tensor_cores(query, device);
  if (!no_tensor_cores.empty()) return no_tensor_cores;
  if (query.units > most_small_units) {
    return std::to_string(query.units) + " units are more than the " + std::to_string(most_small_units) +
           " whose weights one multiprocessor keeps";
  }
  // In 16 bits the weights are in registers, and every device has the rest (small_half.cuh).
  if (bytes_of(query.number) == 2) return "";
  const std::size_t needed = query.number == NumberType::float64
                                 ? small_shared_bytes<double>(query.units, query.options)
                                 : small_shared_bytes<float>(query.units, query.options);
  if (needed > device.shared_per_block) {
    return "a block needs " + kib(needed) + " of shared memory and has " + kib(device.shared_per_block);
  }
  return "";
}

void check_sizes(const SequenceQuery& query) {
  const std::pair<const char*, Index> sizes[] = {
      {"batch", query.batch}, {"steps", query.steps}, {"units", query.units}};
  for (const auto& [name, size] : sizes) {
    if (size < 0) {
      throw std::invalid_argument(std::string(name) + ": expected a size, got " + std::to_string(size));
    }
  }
  if (query.steps > std::numeric_limits<int>::max()) {
    throw std::invalid_argument("steps: expected a number of 32 bits, got " + std::to_string(query.steps));
  }
}

std::string described(const GridLayout& layout) {
  if (layout.slices == 0) return "nothing to compute";
  std::string text = std::to_string(layout.unit_blocks) + " x " + std::to_string(layout.row_slices) +
                     " blocks, each with " + std::to_string(layout.slice_units) + " units";
  if (layout.form == GridForm::anew) {
    return text + " at a time and " + std::to_string(layout.rows) +
           " rows; there are more units than multiprocessors keep, so weights are read at every step";
  }
  text += " and " + std::to_string(layout.rows) + " rows";
  if (layout.anew == 0) return text + ", whose weights stay on the multiprocessor";
  return text + ", of whose weights a part stays on the multiprocessor and the rest is read at every step";
}

}  // namespace

NumberType number_type(const std::string& name) {
  for (const auto& [known, type] : number_names) {
    if (name == known) return type;
  }
  throw std::invalid_argument(
      "number: expected 'float32', 'tf32', 'float64', 'float16' or 'bfloat16', got '" + name + "'");
}

const char* name_of(SequenceKernel kernel) {
  switch (kernel) {
    case SequenceKernel::small:
      return "small";
    case SequenceKernel::grid:
      return "grid";
    case SequenceKernel::staged:
      break;
  }
  return "staged";
}

SequencePlan plan_sequence(const SequenceQuery& query, const DeviceProperties& device) {
  check_sizes(query);
  const std::string no_small = against_small(query, device);
  const SequenceKernel fitting = has_stages(query)  ? SequenceKernel::staged
                                 : no_small.empty() ? SequenceKernel::small
                                                    : SequenceKernel::grid;
  const SequenceKernel kernel = query.wanted.value_or(fitting);
  const auto refuse = [&](const std::string& why) {
    throw std::invalid_argument(std::string("kernel ") + name_of(kernel) +
                                ": expected a sequence that it can do, but " + why);
  };
  if (kernel == SequenceKernel::small && !no_small.empty()) refuse(no_small);
  if (kernel == SequenceKernel::grid && has_stages(query)) refuse("it has no stages for " + stages_of(query));
  if (kernel == SequenceKernel::staged && !has_stages(query)) {
    refuse("it is for layer normalization and projections");
  }
  SequencePlan plan{.kernel = kernel, .reason = "", .workspace = 0, .layout = {}, .stages = {}};
  if (kernel == SequenceKernel::small) {
    plan.reason = "a multiprocessor keeps all recurrent weights of " + std::to_string(query.units) +
                  " units" + (on_tensor_cores(query.number) ? " for its tensor cores" : "") +
                  ", so that no block waits for another";
    return plan;
  }

  const std::string no_tensor_cores = against_tensor_cores(query, device);
  if (!no_tensor_cores.empty()) refuse(no_tensor_cores);
  const bool tensor_cores = on_tensor_cores(query.number);
  std::size_t shared = 0;
  if (kernel == SequenceKernel::grid) {
    plan.layout = grid_layout(tensor_cores, bytes_of(query.number), query.direction, query.options,
                              query.batch, query.units, device.multiprocessors, device.shared_per_block);
    plan.reason =
        described(plan.layout) + " (not the small kernel: " + (query.wanted ? "asked for" : no_small) + ")";
    plan.workspace = plan.layout.workspace_bytes;
    shared = plan.layout.shared_bytes;
  } else {
    plan.stages =
        staged_layout(tensor_cores, bytes_of(query.number), query.direction, query.batch, query.units,
                      query.outputs, query.normalized, device.multiprocessors, device.shared_per_block);
    plan.reason = stages_of(query) + ": several stages for a step, on " +
                  std::to_string(plan.stages.unit_blocks) + " x " + std::to_string(plan.stages.row_slices) +
                  " blocks";
    plan.workspace = plan.stages.workspace_bytes;
    shared = plan.stages.shared_bytes;
  }
  if (shared > device.shared_per_block) {
    refuse("a block needs " + kib(shared) + " of shared memory and has " + kib(device.shared_per_block));
  }
  return plan;
}

}  // namespace fusedlstm::cuda
