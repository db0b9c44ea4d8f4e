// Letters, layouts and options that every backend shares.
//
//   B  batch rows        T  time steps       I  input features
//   H  units             G  gate columns, kGates H = 4 H, in the order i, f, g (the candidate c~), o
//   R  size of h: H, or the columns of a projection (H,R), which makes h = m projection of m = o tanh(c)
//
// Gradients are named `d` + name. Public arrays have Keras's layout: x (B,T,I), kernel (I,G),
// recurrent_kernel (R,G), bias (G), h (B,R), c (B,H), y (B,T,R). Element (b,t,j) of a sequence lies at
// data[b * row + t * step + j]: rows and steps may have any strides, features are contiguous.
#pragma once

#include <cstdint>

#include "inline.h"
#include "math/activation.h"

namespace fusedlstm {

using Index = std::int64_t;

inline constexpr int kGates = 4;

// A (B,T,features) array. Negative strides walk it backwards.
template <class T>
struct Sequence {
  T* data = nullptr;
  Index row = 0;
  Index step = 0;

  FUSEDLSTM_INLINE T* at(Index b, Index t) const { return data + b * row + t * step; }
  FUSEDLSTM_INLINE explicit operator bool() const { return data != nullptr; }
};

// Zoneout (Krueger et al. 2017): with these rates, c and h keep their previous values instead of taking the
// step's new ones; h is made of the new c. Where `drawn`, which units do so is told by the hashes of (seed,
// row, step, unit), and otherwise the states are the expectation over that, rate previous + (1 - rate) new.
struct Zoneout {
  double c;
  double h;
  bool drawn;
  std::uint64_t seed;
};

// Differences of a cell from the equations at the top of cell.h.
template <class T>
struct CellOptions {
  Activation<T> gate;       // of i, f and o
  Activation<T> candidate;  // of g
  Activation<T> output;     // of c, where it becomes h
  const T* peepholes;       // (3,H): how much of c_prev i and f see, and o of c; or null
  T cell_clip;              // c stays within [-cell_clip, cell_clip]; 0 for no limit
  bool coupled;             // f = 1 - i, whatever z_f is
  Zoneout zoneout;
  T gate_clip;  // z_i, z_f, z_g and z_o stay within [-gate_clip, gate_clip]; 0 for no limit
};

// Parameters of a layer-normalized cell (Ba, Kiros and Hinton 2016, equations 20 to 22):
//   z = gamma_input norm(x W) + gamma_recurrent norm(h_prev U) + b      h = o tanh(gamma_cell norm(c) +
//   beta_cell)
// where norm() is taken over all columns of a row (layer_norm.h).
template <class T>
struct LayerNorm {
  const T* gamma_input;      // (G)
  const T* gamma_recurrent;  // (G)
  const T* gamma_cell;       // (H)
  const T* beta_cell;        // (H)
  T epsilon;
};

}  // namespace fusedlstm
