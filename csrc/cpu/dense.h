// Dense products on the team.
#pragma once

#include "dispatch.h"
#include "kernel_run.h"

namespace fusedlstm {

// y (rows, outputs) = x (rows, inputs) kernel + bias, where kernel element (k,n) lies at
// kernel[k * row_stride + n * column_stride] and rows of x are x_stride apart. bias may be null.
template <class T>
KernelRun run_dense(const char* operation, Index rows, Index inputs, Index outputs, const T* x,
                    Index x_stride, const T* kernel, Index row_stride, Index column_stride, const T* bias,
                    T* y);

// dkernel (inputs, outputs) = x^T dy and dbias (outputs), where not null, the sum of dy (rows, outputs).
template <class T>
KernelRun run_dense_gradients(Index rows, Index inputs, Index outputs, const T* x, Index x_stride,
                              const T* dy, T* dkernel, T* dbias);

}  // namespace fusedlstm
