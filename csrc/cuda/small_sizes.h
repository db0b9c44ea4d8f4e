// What the kernels whose blocks keep all recurrent weights can be given.
#pragma once

#include <limits>
#include <stdexcept>
#include <string>

#include "../lstm.h"

namespace fusedlstm::cuda {

constexpr Index most_small_units = 128;

inline void check_small(Index units, Index steps) {
  if (units > most_small_units) {
    throw std::invalid_argument("units: expected at most " + std::to_string(most_small_units) + ", got " +
                                std::to_string(units));
  }
  if (steps > std::numeric_limits<int>::max()) {
    throw std::invalid_argument("steps: expected a number of 32 bits, got " + std::to_string(steps));
  }
}

}  // namespace fusedlstm::cuda
