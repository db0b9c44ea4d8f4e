// The cell alone on the device: one step's equations on whole arrays, with what PlainCell or OptionCell say.
// Arrays lie in device memory, in C order and in Keras's layout: (B,4H) with the gates in the order i, f, g,
// o, and (B,H). They are the caller's. An output may be one of the inputs of its shape, but must not overlap
// them otherwise.
#pragma once

#include "../lstm.h"
#include "stream.h"

namespace fusedlstm::cuda {

template <class T>
struct CellForward {
  Index batch;
  Index units;
  const T* z;       // (B,4H) pre-activations
  const T* c_prev;  // (B,H)
  T* h;             // (B,H)
  T* c;             // (B,H)
  T* gates;         // (B,4H) activated
};

template <class T>
struct CellBackward {
  Index batch;
  Index units;
  const T* gates;   // (B,4H) activated, as forward left them
  const T* c_prev;  // (B,H)
  const T* c;       // (B,H)
  const T* dh;      // (B,H)
  const T* dc;      // (B,H), or null for zeros
  T* dz;            // (B,4H)
  T* dc_prev;       // (B,H)
};

// `options`, which is read before the call returns, may be null for the plain cell; its peepholes lie in
// device memory, and its zoneout belongs to sequences and is not looked at. Peepholes' own gradients are sums
// over rows of dz times c_prev or c, which are not made here. Throws std::runtime_error where CUDA refuses.
template <class T>
void cell_forward(const CellForward<T>& problem, const CellOptions<T>* options, cudaStream_t stream);
template <class T>
void cell_backward(const CellBackward<T>& problem, const CellOptions<T>* options, cudaStream_t stream);

extern template void cell_forward(const CellForward<float>&, const CellOptions<float>*, cudaStream_t);
extern template void cell_forward(const CellForward<double>&, const CellOptions<double>*, cudaStream_t);
extern template void cell_backward(const CellBackward<float>&, const CellOptions<float>*, cudaStream_t);
extern template void cell_backward(const CellBackward<double>&, const CellOptions<double>*, cudaStream_t);

}  // namespace fusedlstm::cuda
