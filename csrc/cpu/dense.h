// Dense products on the team.
#pragma once

#include "dispatch.h"
#include "kernel_run.h"

namespace fusedlstm {

// Operands of a product: x (rows, inputs) and kernel (inputs, outputs), with rows so far apart.
template <class T>
struct DenseOperands {
  Index rows;
  Index inputs;
  Index outputs;
  const T* x;
  Index x_stride;
  const T* kernel;
  Index kernel_stride;
};

// Operands are multiplied as they are, or, those of float32, rounded to bfloat16.
enum class Compute { full, bfloat16 };

// y (rows, outputs) = x kernel + bias (outputs), which may be null.
template <class T>
KernelRun run_dense(const DenseOperands<T>& operands, const T* bias, T* y, Compute compute = Compute::full);

// From dy (rows, outputs): dx (rows, inputs) and dbias (outputs), where not null, and dkernel (inputs,
// outputs).
template <class T>
KernelRun run_dense_gradients(const DenseOperands<T>& operands, const T* dy, T* dx, T* dkernel, T* dbias,
                              Compute compute = Compute::full);

}  // namespace fusedlstm
