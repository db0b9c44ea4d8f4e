// A kernel's Maker makes the cell of one unit, as a constant of the kernel's: without options, or with them.
#pragma once

#include <type_traits>

#include "../math/cell.h"
#include "number.cuh"
#include "sequence.h"

namespace fusedlstm::cuda {

struct Plain {
  __device__ __forceinline__ PlainCell cell(Index, Index) const { return {}; }
};

template <class T>
struct WithOptions {
  CellOptions<T> options;

  __device__ __forceinline__ OptionCell<Number<T>, T> cell(Index unit, Index units) const {
    using V = Number<T>;
    const T* p = options.peepholes;
    if (p == nullptr) return {options, {V(0), V(0), V(0)}};
    return {options, {V(p[unit]), V(p[units + unit]), V(p[2 * units + unit])}};
  }
};

// Calls run(maker) with what the options ask for; null is the plain cell.
template <class T, class Run>
void with_maker(const CellOptions<T>* options, const Run& run) {
  if (options != nullptr) {
    run(WithOptions<T>{*options});
  } else {
    run(Plain{});
  }
}

template <class Maker>
constexpr bool has_options = !std::is_same_v<Maker, Plain>;

// The numbers that a cell of arrays of T is computed in, brief (number.cuh) where results have 16 bits.
// Options have activations that it does not make shorter.
template <class T, class Maker>
using CellNumber = Number<StateOf<T>, sizeof(T) == 2 && !has_options<Maker>>;

// The ends of what a gate_clip lets through, made once by a thread for all of its cells on the way back.
template <class V, class Maker>
class ThreadClip {
 public:
  __device__ __forceinline__ explicit ThreadClip(const Maker& maker) {
    if constexpr (has_options<Maker>) {
      given_ = maker.options.gate_clip > 0;
      if (given_) ends_ = clip_ends<V>(maker.options);
    }
  }

  template <class Cell>
  __device__ __forceinline__ void give(Cell& cell) const {
    if constexpr (Cell::has_options) cell.ends = given_ ? &ends_ : nullptr;
  }

 private:
  ClipEnds<V> ends_;
  bool given_ = false;
};

}  // namespace fusedlstm::cuda
