// One call of the kernels for tangents and second derivatives (math/second_order.h).
#pragma once

#include "problem.h"

namespace fusedlstm {

// Forward along a direction. The inherited problem is that of the tangents: its x, h0, h, cells, gates,
// dropped are those of the direction or go to tangents, and its inputs are 0 where x does not move.
template <class T>
struct TangentProblem : ForwardProblem<T> {
  ForwardProblem<T> primal;   // as forward ran it, with the whole tape; only read
  const T* kernel;            // input panels (panels, I, 4, width) of the direction, or null for zeros
  const T* recurrent_kernel;  // recurrent panels (panels, H, 4, width), or null for zeros
  const T* peepholes_dot;     // (3,H), or null for zeros
  const T* zeros;             // (H)
};

// Backward along a direction. The inherited problem is that of the first backward pass, with these changes:
//   gates           in, tangents of the gates; out, tangents of their gradients
//   dh_steps etc.   from the first pass
//   dy              null, or what the direction of the recurrent kernel adds to the tangents of dh
//   dh              null, since it does not move
//   dc, dh0, dx, dkernel, drecurrent_kernel, dbias, dpeepholes: their tangents
template <class T>
struct SecondProblem : BackwardProblem<T> {
  const T* gate_gradients;            // from the first pass, as a gates' tape
  const T* cells_dot;                 // (T+1,B,H), from the tangents
  Sequence<const T> x_dot;            // (B,T,I), or null for zeros
  const T* h0_dot;                    // (B,H), or null for zeros
  HiddenStates<const T> h_dot;        // from the tangents
  HiddenStates<const T> dropped_dot;  // the same, on their way into the next step
  const T* dropped_h0_dot;            //
  const T* peepholes_dot;             // (3,H), or null for zeros
  TransposedPanels<T> direction;      // of the kernels' direction; either may be null for zeros
};

// out (columns) of every real step and row, or added to it: its gates' gradients times a transposed kernel.
template <class T>
struct GateProduct {
  Index batch;
  Timeline timeline;
  Index units;
  const T* gates;   // a gates' tape
  const T* panels;  // (panels, P 4 width, 4 width)
  Index columns;
  Sequence<T> out;  // by time; `lag` steps late
  Index lag;
  T* before;      // (B, columns): what comes to lie before the first step, or null where there is no lag
  const T* mask;  // (B, columns) factors of the product, or null
  bool add;
};

}  // namespace fusedlstm
