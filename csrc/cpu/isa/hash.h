// hash.h's words in the compiler's own vectors.
#pragma once

#include "../../math/hash.h"
#include "vec.h"

namespace fusedlstm::FUSEDLSTM_ISA {

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

}  // namespace fusedlstm::FUSEDLSTM_ISA
