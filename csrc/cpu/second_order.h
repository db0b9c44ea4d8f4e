// Derivatives of whole sequences along a direction, and second derivatives, for C++ programs as sequence.h
// has the first ones.
#pragma once

#include "sequence.h"

namespace fusedlstm {

// A direction: arrays like the arguments of forward, null where they do not move. x is walked as that of the
// call is; kernels' rows lie `stride` apart.
template <class T>
struct Direction {
  Sequence<const T> x;
  const T* kernel;
  Index kernel_stride;
  const T* recurrent_kernel;
  Index recurrent_stride;
  const T* bias;
  const T* h0;
  const T* c0;
  const T* peepholes;
};

// Tangents of the results of the call that left the tape.
template <class T>
KernelRun lstm_jvp(const Tape<T>& tape, const Direction<T>& direction, const LstmResults<T>& tangents);

// The same; and gradients of the sum of the direction's products with the gradients that the tape's pass
// made. All gradients of weights are wanted, bias and peepholes where the cell has them.
template <class T>
KernelRun lstm_second_backward(const GradientTape<T>& tape, const Direction<T>& direction,
                               const LstmResults<T>& tangents, const ArgumentGradients<T>& gradients);

}  // namespace fusedlstm
