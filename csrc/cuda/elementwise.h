// Kernels that touch each element of an array once, on the device, in C order.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "../lstm.h"
#include "../math/updates.h"
#include "stream.h"

namespace fusedlstm::cuda {

// Elements whose hash of (seed, row, feature) is below the threshold become zero, the others are scaled. The
// rows of one batch row share a hash where `share_steps`; y may be x.
struct Dropout {
  Index batch;
  Index steps;
  Index features;
  bool share_steps;
  std::uint64_t seed;
  std::uint32_t threshold;
  double scale;
};

template <class T>
void dropout(const Dropout& problem, const T* x, T* y, cudaStream_t stream);

// An update in place of `size` elements by the rule of this name, with numbers of its own (math/updates.h).
// Slots, of which the last is the moving average, may be null where the rule does without.
template <class T>
void update(const std::string& rule, const UpdateSettings& settings, const std::vector<double>& numbers,
            Index size, T* param, const T* grad, const std::vector<T*>& slots, cudaStream_t stream);

// sums (rows,features): row r is the sum of the rows order[k] of `from` (any,features), for k from starts[r]
// up to but not starts[r + 1], in that order.
template <class T>
void sum_rows(Index rows, Index features, const Index* starts, const Index* order, const T* from, T* sums,
              cudaStream_t stream);

}  // namespace fusedlstm::cuda
