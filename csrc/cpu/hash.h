// Random words that are functions of a seed and of an element's index, so that nobody has to store them.
#pragma once

#include <cstdint>

#include "vec.h"

namespace fusedlstm::FUSEDLSTM_ISA {

// A bijection of 32-bit words in which every input bit flips every output bit with probability near 1/2:
// C. Wellons, "Prospecting for hash functions" (2018), the constants of least bias for this shape.
template <class Word>
[[gnu::always_inline]] inline Word mix(Word x) {
  x = (x ^ (x >> 16)) * 0x7feb352dU;
  x = (x ^ (x >> 15)) * 0x846ca68bU;
  return x ^ (x >> 16);
}

// `count` numbers in the compiler's own vector type, which has their operators.
template <class T, Index count>
struct Lanes {
  typedef T Type __attribute__((vector_size(count * sizeof(T))));
};

// The words first, first + 1, ...
template <Index count>
[[gnu::always_inline]] inline auto words_from(Index first) {
  typename Lanes<std::uint32_t, count>::Type words;
  for (Index j = 0; j < count; ++j) words[j] = static_cast<std::uint32_t>(j);
  return words + static_cast<std::uint32_t>(first);
}

// The words of a run of elements: one key for the run, and its elements are counted inside it.
struct RunHash {
  std::uint32_t key;
  std::uint32_t seed_high;

  [[gnu::always_inline]] RunHash(std::uint64_t seed, std::uint64_t run)
      : seed_high(static_cast<std::uint32_t>(seed >> 32)) {
    const std::uint32_t seed_low = static_cast<std::uint32_t>(seed);
    key = mix(mix(static_cast<std::uint32_t>(run) ^ seed_low) + seed_high) ^
          mix(static_cast<std::uint32_t>(run >> 32) + seed_low);
  }
  // Of one element, or of several.
  template <class Word>
  [[gnu::always_inline]] Word operator()(Word element) const {
    return mix(mix(element + key) ^ seed_high);
  }
};

}  // namespace fusedlstm::FUSEDLSTM_ISA
