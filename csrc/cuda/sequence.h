// A sequence on the device, by whichever kernel its plan (plan.h) says: the arguments and results of all of
// them.
//
// T is the number type of arrays: float, double, __half or __nv_bfloat16. Cell states, and all sums, are in
// StateOf<T>: float where T has 16 bits. The rest is products of whole arrays, which others make:
// x kernel before forward; and after backward, from dz and what was given, dx, dkernel,
// drecurrent_kernel and dbias, and the sum over rows of the peepholes' gradients.
//
// With a projection (H,R), which makes h of o tanh(c), h has R numbers instead of H. A layer-normalized cell
// (LayerNorm of lstm.h) is given z_x = gamma_input norm(x kernel); others make what comes before it and, from
// dz, after it.
//
// Options of the cell, zoneout included, are those of CellOptions<StateOf<T>>, whose peepholes lie in device
// memory; null is the plain cell.
//
// Arrays lie in device memory, in C order, and are the caller's. Lengths are those of right-padded rows:
// beyond its own, a row keeps its states. There y repeats the last hidden state (h0, where there is no step)
// and dy counts; with `zero_padding`, y is zero and dy is not read.
#pragma once

#include <type_traits>

#include "../lstm.h"
#include "stream.h"

namespace fusedlstm::cuda {

template <class T>
using StateOf = std::conditional_t<sizeof(T) == 2, float, T>;

// Parameters of a layer-normalized cell, without those of x.
template <class T>
struct RecurrentNorm {
  const T* gamma_recurrent = nullptr;  // (4H), or null: no normalization
  const T* gamma_cell = nullptr;       // (H)
  const T* beta_cell = nullptr;        // (H)
  StateOf<T> epsilon = 0;
};

template <class T>
struct SequenceForward {
  Index batch;
  Index steps;
  Index units;
  const T* z_x;               // (B,T,4H) x kernel, gates in the order i, f, g, o
  const T* bias = nullptr;    // (4H), added to z_x, or null
  const T* recurrent_kernel;  // (R,4H)
  const T* h0;                // (B,R), or null for zeros
  const StateOf<T>* c0;       // (B,H), or null for zeros
  const Index* lengths;       // (B) in [0, T], or null: all T
  const T* recurrent_mask;    // (B,R) factors of h on its way into a step, or null
  bool zero_padding;
  Index first_step = 0;           // of a window, in its sequence: zoneout's draws count steps from there
  T* y;                           // (B,T,R)
  T* h;                           // (B,R) last hidden state
  StateOf<T>* c;                  // (B,H) last cell state
  T* gates;                       // (B,T,4H) activated, of real steps only; or null; may be z_x
  StateOf<T>* cells;              // (T+1,B,H), slot 0 holding c0, and of real steps only; null where gates is
  Index outputs = 0;              // R, with a projection
  const T* projection = nullptr;  // (H,R), or null for none
  T* m = nullptr;                 // (B,T,H) what was projected, with a tape; zero beyond a row's length
  RecurrentNorm<T> norm = {};
  T* normalized = nullptr;        // (B,T,4H) norm(h U), with a tape and a norm, of real steps only
  StateOf<T>* moments = nullptr;  // (B,T,3) factor of h U, mean and factor of c; where normalized is
};

template <class T>
struct SequenceBackward {
  Index batch;
  Index steps;
  Index units;
  const T* recurrent_kernel;  // (R,4H)
  const Index* lengths;       // as given to forward
  const T* recurrent_mask;    // as given to forward
  bool zero_padding;          // as given to forward
  Index first_step = 0;       // as given to forward
  const StateOf<T>* cells;    // (T+1,B,H), from forward
  const T* dy;                // (B,T,R), or null for zeros
  const T* dh;                // (B,R) gradient of the last hidden state, or null for zeros
  const StateOf<T>* dc;       // (B,H) gradient of the last cell state, or null for zeros
  T* gates;                   // (B,T,4H): in, activated gates; out, dz, which is zero beyond a row's length
  T* dh0;                     // (B,R)
  StateOf<T>* dc0;            // (B,H)
  StateOf<T>* dpeepholes;     // (B,3,H) of each row alone, or null; only with peepholes
  Index outputs = 0;          // as given to forward
  const T* projection = nullptr;  // as given to forward
  T* dprojected = nullptr;        // (B,T,R) gradients of m projection, with one; zero beyond a row's length
  RecurrentNorm<T> norm = {};     // as given to forward
  T* normalized = nullptr;  // (B,T,4H): in, norm(h U); out, gradients of h U, zero beyond a row's length
  const StateOf<T>* moments = nullptr;  // (B,T,3), from forward
  // (B,6,H) of each row alone, with a norm: gamma_recurrent's four gates, gamma_cell, beta_cell.
  StateOf<T>* dnorm = nullptr;
};

}  // namespace fusedlstm::cuda
