// The contract that every backend implements: letters, shapes, layouts and ownership.
//
//   B  batch rows        T  time steps       I  input features
//   H  units             G  gate columns, G = 4 H, in the order i, f, g (the candidate c~), o
//
// Gradients are named `d` + name. Public arrays have Keras's layout: x (B,T,I), kernel (I,G),
// recurrent_kernel (H,G), bias (G), states (B,H), y (B,T,H). Element (b,t,j) of a sequence lies at
// data[b * row + t * step + j]: rows and steps may have any strides, features are contiguous.
//
// What forward leaves for backward is the tape:
//   gates (T,B,G)     activated gates; backward overwrites them with the gates' gradients
//   cells (T+1,B,H)   cell states, slot 0 holding the initial one
//   y     (B,T,H)     hidden states, which forward has to write anyway
// that is 4 H + H numbers per row and step besides y. tanh(c) is recomputed.
//
// No structure here owns memory: the caller allocates everything, scratch included, before work starts.
#pragma once

#include <cstdint>

namespace fusedlstm {

using Index = std::int64_t;

struct Sizes {
  Index batch;
  Index steps;
  Index inputs;
  Index units;
};

// A (B,T,features) array. Negative strides walk it backwards.
template <class T>
struct Sequence {
  T* data = nullptr;
  Index row = 0;
  Index step = 0;

  T* at(Index b, Index t) const { return data + b * row + t * step; }
  explicit operator bool() const { return data != nullptr; }
};

// Which time steps of each row are real. The recurrence visits only those: its s-th step of row b happens at
// time(b, s), and steps from length(b) on do not exist. The tape is indexed by s, sequences by time.
struct Timeline {
  Index steps = 0;                      // T
  const Index* lengths = nullptr;       // (B) real steps of each row, or null: all T
  const std::int32_t* times = nullptr;  // (B,T) time of each real step, or null: s itself

  Index length(Index b) const { return lengths == nullptr ? steps : lengths[b]; }
  Index time(Index b, Index s) const { return times == nullptr ? s : times[b * steps + s]; }
};

// Half-open range of rows, panels or tiles: a thread's share of the work.
struct Range {
  Index begin;
  Index end;

  Index size() const { return end - begin; }
};

// Weights as the forward kernels read them: one panel holds the four gates of `width` units,
//   input (panels, I, 4, width), recurrent (panels, H, 4, width), bias (panels, 4, width),
// zero beyond H, so that a register tile meets i, f, g and o of the same units together.
template <class T>
struct GatePanels {
  T* input;
  T* recurrent;
  T* bias;
};

// Transposed weights as the backward kernels read them: one panel holds `4 width` columns of
//   recurrent^T (panels, G, 4 width) and input^T (panels, G, 4 width), zero beyond H and I.
template <class T>
struct TransposedPanels {
  T* input;
  T* recurrent;
};

template <class T>
struct ForwardProblem {
  Sizes sizes;
  Timeline timeline;
  Sequence<const T> x;  // (B,T,I)
  GatePanels<const T> weights;
  const T* h0;         // (B,H) or null for zeros
  Sequence<T> h;       // (B,T,H) at the steps' times; or, when only the last state is wanted, two slots in turn
  bool two_slots;      // step s goes to slot s % 2
  T* cells;            // c_s at cells + (s + 1) * cells_step; the caller has filled slot 0 with c0
  Index cells_step;    // B * H on tape, 0 to update one (B,H) buffer in place
  T* gates;            // (T,B,G) on tape, or null

  T* hidden(Index b, Index s) const { return h.at(b, two_slots ? s % 2 : timeline.time(b, s)); }
};

template <class T>
struct BackwardProblem {
  Sizes sizes;
  Timeline timeline;
  Sequence<const T> x;  // (B,T,I), as given to forward
  TransposedPanels<const T> weights;
  const T* h0;           // (B,H) or null for zeros, as given to forward
  Sequence<const T> y;   // (B,T,H), from forward
  const T* cells;        // (T+1,B,H), from forward
  T* gates;              // (T,B,G): in, activated gates; out, their gradients
  Sequence<const T> dy;  // (B,T,H) or null for zeros
  const T* dh;           // (B,H) gradient of the last hidden state, or null for zeros
  T* dc;                 // (B,H): in, gradient of the last cell state; out, gradient of c0
  T* dh0;                // (B,H)
  Sequence<T> dx;        // (B,T,I), or null when not wanted; only real steps are written
  T* dkernel;            // (I,G)
  T* drecurrent_kernel;  // (H,G)
  T* dbias;              // (G), or null when not wanted
};

}  // namespace fusedlstm
