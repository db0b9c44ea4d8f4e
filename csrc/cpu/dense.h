// Dense products, layer normalization and element-wise kernels on the team.
#pragma once

#include <algorithm>

#include "lstm.h"
#include "plan.h"

namespace fusedlstm {

// Calls body(range) on shares of [0, total); small work, less than two `grain`s, stays on one thread.
template <class Body>
int parallel(Index total, Index grain, const Body& body) {
  TeamLease team(
      {.threads = static_cast<int>(std::clamp<Index>(total / std::max<Index>(grain, 1), 1, num_threads()))});
  team.share([&](int share) { body(share_of(total, share, team.count())); });
  return team.count();
}

// Elements below which one thread is faster.
inline constexpr Index elementwise_grain = 32'768;
// Operations of a product below which it is.
inline constexpr Index dense_grain = 400'000;

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

// y of the problem, or dx and the sums over all rows that are dgamma and dbeta (features).
template <class T>
KernelRun run_layer_norm(LayerNormProblem<T> problem);
template <class T>
KernelRun run_layer_norm_gradients(LayerNormProblem<T> problem, T* dgamma, T* dbeta);

}  // namespace fusedlstm
