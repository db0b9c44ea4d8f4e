// Rows of numbers, a group of vectors at a time.
#pragma once

#include "vec.h"

namespace fusedlstm::FUSEDLSTM_ISA {

template <class T, class Body>
[[gnu::always_inline]] inline void for_each_vector_in(Range range, const Body& body) {
  Index i = range.begin;
  for (; i + Vec<T>::width <= range.end; i += Vec<T>::width) body(i, AllLanes{});
  if (i < range.end) body(i, range.end - i);
}

// The vectors of `count` neighbouring numbers, in groups of four: calls body(place in the group, first
// number, lanes).
template <class T, class Body>
[[gnu::always_inline]] inline void for_each_in_groups(Index count, const Body& body) {
  using V = Vec<T>;
  Index i = 0;
  for (; i + 4 * V::width <= count; i += 4 * V::width) {
    for (int j = 0; j < 4; ++j) body(j, i + j * V::width, AllLanes{});
  }
  for (int j = 0; j < 4; ++j, i += V::width) {
    if (i + V::width <= count) {
      body(j, i, AllLanes{});
    } else if (i < count) {
      body(j, i, count - i);
    }
  }
}

// A sum over a row, which is long enough for four chains of additions.
template <class T>
struct RowSum {
  using V = Vec<T>;
  V part[4] = {V(0), V(0), V(0), V(0)};

  [[gnu::always_inline]] T total() const { return sum_of_lanes((part[0] + part[1]) + (part[2] + part[3])); }
};

template <class T>
alignas(64) inline constexpr T ones[16] = {T(1), T(1), T(1), T(1), T(1), T(1), T(1), T(1),
                                           T(1), T(1), T(1), T(1), T(1), T(1), T(1), T(1)};

// `x` with zeros beyond a tail's lanes.
template <class T>
[[gnu::always_inline]] inline Vec<T> within(Vec<T> x, AllLanes) {
  return x;
}
template <class T>
[[gnu::always_inline]] inline Vec<T> within(Vec<T> x, Index lanes) {
  return x * Vec<T>::load(ones<T>, lanes);
}

// `x` with `filling` beyond a tail's lanes.
template <class T>
[[gnu::always_inline]] inline Vec<T> filled_up(Vec<T> x, AllLanes, Vec<T>) {
  return x;
}
template <class T>
[[gnu::always_inline]] inline Vec<T> filled_up(Vec<T> x, Index lanes, Vec<T> filling) {
  return where_less(Vec<T>(0), Vec<T>::load(ones<T>, lanes), x, filling);
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
