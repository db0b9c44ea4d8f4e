// Random words that are functions of a seed and of an element's index, so that nobody has to store them, on
// any type `Word` of 32-bit words that has their operators: a number, or a vector of them.
#pragma once

#include <cstdint>

#include "../inline.h"

namespace fusedlstm {

// A bijection of 32-bit words in which every input bit flips every output bit with probability near 1/2:
// C. Wellons, "Prospecting for hash functions" (2018), the constants of least bias for this shape.
template <class Word>
FUSEDLSTM_INLINE inline Word mix(Word x) {
  x = (x ^ (x >> 16)) * 0x7feb352dU;
  x = (x ^ (x >> 15)) * 0x846ca68bU;
  return x ^ (x >> 16);
}

// The words of a run of elements: one key for the run, and its elements are counted inside it.
struct RunHash {
  std::uint32_t key;
  std::uint32_t seed_high;

  FUSEDLSTM_INLINE RunHash(std::uint64_t seed, std::uint64_t run)
      : seed_high(static_cast<std::uint32_t>(seed >> 32)) {
    const std::uint32_t seed_low = static_cast<std::uint32_t>(seed);
    key = mix(mix(static_cast<std::uint32_t>(run) ^ seed_low) + seed_high) ^
          mix(static_cast<std::uint32_t>(run >> 32) + seed_low);
  }
  // The hash of one element, or of several.
  template <class Word>
  FUSEDLSTM_INLINE Word operator()(Word element) const {
    return mix(mix(element + key) ^ seed_high);
  }
};

}  // namespace fusedlstm
