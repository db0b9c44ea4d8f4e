// Sizes that the kernels whose blocks keep all recurrent weights can do.
#pragma once

#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#include "../lstm.h"

namespace fusedlstm::cuda {

constexpr Index most_small_units = 128;

inline void check_small(Index batch, Index units, Index steps) {
  if (units > most_small_units) {
    throw std::invalid_argument("units: expected at most " + std::to_string(most_small_units) + ", got " +
                                std::to_string(units));
  }
  for (const auto& [name, size] : {std::pair{"batch", batch}, std::pair{"steps", steps}}) {
    if (size > std::numeric_limits<int>::max()) {
      throw std::invalid_argument(std::string(name) + ": expected a number of 32 bits, got " +
                                  std::to_string(size));
    }
  }
}

}  // namespace fusedlstm::cuda
