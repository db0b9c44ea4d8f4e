// What makes the cell of one unit in a kernel, as a constant of the kernel's: nothing, or options.
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

template <class Maker>
constexpr bool has_options = !std::is_same_v<Maker, Plain>;

// What the cell of numbers T is computed in, brief (number.cuh) where results have 16 bits. Options have
// activations that it does not make shorter.
template <class T, class Maker>
using CellNumber = Number<StateOf<T>, sizeof(T) == 2 && !has_options<Maker>>;

// The ends of what a gate_clip lets through, made once by a thread for all of its cells on the way back.
template <class T, class Maker>
class ThreadClip {
 public:
  __device__ __forceinline__ explicit ThreadClip(const Maker& maker) {
    if constexpr (has_options<Maker>) {
      given_ = maker.options.gate_clip > T(0);
      if (given_) ends_ = clip_ends<Number<T>>(maker.options);
    }
  }

  template <class Cell>
  __device__ __forceinline__ void give(Cell& cell) const {
    if constexpr (Cell::has_options) cell.ends = given_ ? &ends_ : nullptr;
  }

 private:
  ClipEnds<Number<T>> ends_;
  bool given_ = false;
};

}  // namespace fusedlstm::cuda
