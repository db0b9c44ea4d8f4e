// The sequence on the device where H is small enough for one multiprocessor to keep all recurrent weights: a
// block owns some rows of the batch from the first step to the last, and no block waits for another.
//
// What else there is are products of whole arrays, which others make: x kernel + bias before forward; and
// after backward, from dz and what was given, dx, dkernel, drecurrent_kernel and dbias, and the sum over rows
// of the peepholes' gradients.
//
// Options of the cell, zoneout included, are those of CellOptions, whose peepholes lie in device memory; null
// is the plain cell. They take registers that weights have without them, and so more shared memory.
//
// Arrays lie in device memory, in C order, and are the caller's. Lengths are those of right-padded rows:
// beyond its own, a row keeps its states, and y repeats the last one (h0, where there is no step).
#pragma once

#include <cstddef>

#include "../lstm.h"
#include "stream.h"

namespace fusedlstm::cuda {

constexpr Index most_small_units = 128;

template <class T>
struct SmallForward {
  Index batch;
  Index steps;
  Index units;
  const T* z_x;               // (B,T,4H) x kernel + bias, gates in the order i, f, g, o
  const T* recurrent_kernel;  // (H,4H)
  const T* h0;                // (B,H), or null for zeros
  const T* c0;                // (B,H), or null for zeros
  const Index* lengths;       // (B) in [0, T], or null: all T
  const T* recurrent_mask;    // (B,H) factors of h on its way into a step, or null
  T* y;                       // (B,T,H)
  T* h;                       // (B,H) last hidden state
  T* c;                       // (B,H) last cell state
  T* gates;                   // (B,T,4H) activated, of real steps only; or null; may be z_x
  T* cells;                   // (T+1,B,H), slot 0 holding c0; null where gates is
};

template <class T>
struct SmallBackward {
  Index batch;
  Index steps;
  Index units;
  const T* recurrent_kernel;  // (H,4H)
  const Index* lengths;       // as given to forward
  const T* recurrent_mask;    // as given to forward
  const T* cells;             // (T+1,B,H), from forward
  const T* dy;                // (B,T,H), or null for zeros
  const T* dh;                // (B,H) gradient of the last hidden state, or null for zeros
  const T* dc;                // (B,H) gradient of the last cell state, or null for zeros
  T* gates;                   // (B,T,4H): in, activated gates; out, dz, which is zero beyond a row's length
  T* dh0;                     // (B,H)
  T* dc0;                     // (B,H)
  T* dpeepholes;              // (B,3,H) of each row alone, or null; only with peepholes
};

// Dynamic shared memory of a block, in either direction. A device that gives a block less refuses the launch.
template <class T>
std::size_t small_shared_bytes(Index units, bool options);

// `options` is read before the call returns. Throw std::invalid_argument beyond most_small_units, and
// std::runtime_error where CUDA refuses, before anything is written.
template <class T>
void small_forward(const SmallForward<T>& problem, const CellOptions<T>* options, cudaStream_t stream);
template <class T>
void small_backward(const SmallBackward<T>& problem, const CellOptions<T>* options, cudaStream_t stream);

extern template std::size_t small_shared_bytes<float>(Index, bool);
extern template std::size_t small_shared_bytes<double>(Index, bool);
extern template void small_forward(const SmallForward<float>&, const CellOptions<float>*, cudaStream_t);
extern template void small_forward(const SmallForward<double>&, const CellOptions<double>*, cudaStream_t);
extern template void small_backward(const SmallBackward<float>&, const CellOptions<float>*, cudaStream_t);
extern template void small_backward(const SmallBackward<double>&, const CellOptions<double>*, cudaStream_t);

}  // namespace fusedlstm::cuda
