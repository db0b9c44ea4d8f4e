// The choice of the kernel that serves a sequence on a device, from sizes and the device's properties alone,
// and its reasons. Plain C++: it is tested over a table of devices without having them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "../lstm.h"
#include "grid_layout.h"
#include "staged_layout.h"

namespace fusedlstm::cuda {

// The numbers that a kernel multiplies. tf32 is float32 with operands rounded to 11 bits, for those who allow
// it.
enum class NumberType : std::uint8_t { float32, tf32, float64, float16, bfloat16 };

NumberType number_type(const std::string& name);  // throws std::invalid_argument

struct DeviceProperties {
  int major = 0;  // compute capability
  int minor = 0;
  int multiprocessors = 0;
  std::size_t shared_per_block = 0;  // bytes, what a kernel may ask for
};

enum class SequenceKernel : std::uint8_t { small, grid, staged };

struct SequenceQuery {
  NumberType number;
  Direction direction;
  Index batch;
  Index steps;
  Index units;
  bool options;
  Index outputs = 0;                     // R with a projection, 0 without
  bool normalized = false;               // a layer-normalized cell
  std::optional<SequenceKernel> wanted;  // a kernel to use whatever the plan would be
};

struct SequencePlan {
  SequenceKernel kernel;
  std::string reason;
  std::size_t workspace;  // bytes, zeros at the launch
  GridLayout layout;      // of the grid kernel
  StagedLayout stages;    // of the staged one
};

const char* name_of(SequenceKernel kernel);

// Throws std::invalid_argument where no kernel, or not the wanted one, can do it on such a device.
SequencePlan plan_sequence(const SequenceQuery& query, const DeviceProperties& device);

// Properties of the device that launches go to now; current_device.cu.
DeviceProperties current_device();

}  // namespace fusedlstm::cuda
