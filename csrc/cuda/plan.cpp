#include "plan.h"

#include <array>
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

// Why the small kernel cannot do it, or nothing.
std::string against_small(const SequenceQuery& query, const DeviceProperties& device) {
  if (on_tensor_cores(query.number)) return std::string("it has no form for ") + name_of(query.number);
  if (query.units > most_small_units) {
    return std::to_string(query.units) + " units are more than the " + std::to_string(most_small_units) +
           " whose weights one multiprocessor keeps";
  }
  const std::size_t needed = query.number == NumberType::float64
                                 ? small_shared_bytes<double>(query.units, query.options)
                                 : small_shared_bytes<float>(query.units, query.options);
  if (needed > device.shared_per_block) {
    return "a block needs " + kib(needed) + " of shared memory and has " + kib(device.shared_per_block);
  }
  return "";
}

std::string against_grid(const SequenceQuery& query, const DeviceProperties& device) {
  const std::string capability = std::to_string(device.major) + "." + std::to_string(device.minor);
  if ((query.number == NumberType::bfloat16 || query.number == NumberType::tf32) && device.major < 8) {
    return std::string("tensor cores multiply ") + name_of(query.number) +
           " from compute capability 8.0 on, and this one is " + capability;
  }
  return "";
}

std::string described(const GridLayout& layout) {
  std::string text = std::to_string(layout.unit_blocks) + " x " + std::to_string(layout.row_slices) +
                     " blocks, each with " + std::to_string(layout.slice_units) + " units";
  if (!layout.resident) {
    return text + " at a time and " + std::to_string(layout.rows) +
           " rows; there are more units than multiprocessors keep, so weights are read at every step";
  }
  return text + " and " + std::to_string(layout.rows) + " rows";
}

}  // namespace

NumberType number_type(const std::string& name) {
  for (const auto& [known, type] : number_names) {
    if (name == known) return type;
  }
  throw std::invalid_argument(
      "number: expected 'float32', 'tf32', 'float64', 'float16' or 'bfloat16', got '" + name + "'");
}

const char* name_of(SequenceKernel kernel) { return kernel == SequenceKernel::small ? "small" : "grid"; }

SequencePlan plan_sequence(const SequenceQuery& query, const DeviceProperties& device) {
  const std::string no_small = against_small(query, device);
  const std::string no_grid = against_grid(query, device);
  const bool small = query.wanted ? *query.wanted == SequenceKernel::small : no_small.empty();
  const std::string& against = small ? no_small : no_grid;
  if (!against.empty()) {
    throw std::invalid_argument(std::string("kernel ") + (small ? "small" : "grid") +
                                ": expected a sequence that it can do, but " + against);
  }
  if (small) {
    return {SequenceKernel::small,
            "a multiprocessor keeps all recurrent weights of " + std::to_string(query.units) +
                " units, so that no block waits for another",
            0,
            {}};
  }
  const GridLayout layout =
      grid_layout(on_tensor_cores(query.number), bytes_of(query.number), query.direction, query.options,
                  query.batch, query.units, device.multiprocessors, device.shared_per_block);
  if (layout.shared_bytes > device.shared_per_block) {
    throw std::invalid_argument("kernel grid: expected " + kib(layout.shared_bytes) +
                                " of shared memory for a block, and the device has " +
                                kib(device.shared_per_block));
  }
  const std::string why = query.wanted ? "asked for" : no_small;
  return {SequenceKernel::grid, described(layout) + " (not the small kernel: " + why + ")",
          layout.workspace_bytes, layout};
}

}  // namespace fusedlstm::cuda
