// The cell alone, dropout, optimizers' updates and norms, on the team.
#pragma once

#include <algorithm>
#include <array>
#include <functional>
#include <numeric>
#include <vector>

#include "buffer.h"
#include "dispatch.h"
#include "kernel_run.h"
#include "parallel.h"

namespace fusedlstm {

inline KernelRun run_of(const char* operation, bool is_double, int threads) {
  return {operation, kernels().name, is_double, threads, false};
}

// Calls body(range) for shares of the rows of a batch of cells. Rows without units are none.
template <class T, class Body>
KernelRun run_cells(const char* operation, Index batch, Index units, const Body& body) {
  const Index grain = elementwise_grain / (8 * std::max<Index>(units, 1)) + 1;
  return run_of(operation, sizeof(T) == sizeof(double), parallel(units > 0 ? batch : 0, grain, body));
}

// h, c (B,H) and activated gates (B,G) from pre-activations z (B,G) and c_prev (B,H).
template <class T>
KernelRun run_cell_forward(Index batch, Index units, const T* z, const T* c_prev, T* h, T* c, T* gates) {
  const auto run = kernels().of<T>().cell_forward;
  return run_cells<T>("cell_forward", batch, units,
                      [&](Range rows) { run(units, rows, z, c_prev, h, c, gates); });
}

// dz (B,G) and dc_prev (B,H) from dh and dc (B,H), which may be null for zeros.
template <class T>
KernelRun run_cell_backward(Index batch, Index units, const T* gates, const T* c_prev, const T* c,
                            const T* dh, const T* dc, T* dz, T* dc_prev) {
  const auto run = kernels().of<T>().cell_backward;
  return run_cells<T>("cell_backward", batch, units,
                      [&](Range rows) { run(units, rows, gates, c_prev, c, dh, dc, dz, dc_prev); });
}

// y is x (rows, steps, features) with zeros at `rate` of its places, and else x / (1 - rate); with
// `share_steps` at the same features of all steps. y may be x.
template <class T>
KernelRun run_dropout(Index rows, Index steps, Index features, bool share_steps, double rate,
                      std::uint64_t seed, const T* x, T* y) {
  const auto threshold = static_cast<std::uint32_t>(std::min(rate * 0x1p32, 0x1p32 - 1));
  const T scale = static_cast<T>(1.0 / (1.0 - rate));
  const Sequence<const T> source{x, steps * features, features};
  const auto run = kernels().of<T>().dropout;
  const int threads = parallel(rows, elementwise_grain / (steps * features) + 1, [&](Range range) {
    run(range, steps, features, share_steps, seed, threshold, scale, source, y);
  });
  return run_of("dropout", sizeof(T) == sizeof(double), threads);
}

// An optimizer's update of one parameter; the rules are those of math/updates.h. Slots may be null where
// their rule does without; the last one is the parameter's moving average.
struct ParamUpdate {
  Index size;
  std::function<void(Range)> run;
};

template <class T, class Rule>
ParamUpdate make_update(const Rule& rule, Index size, T* param, const T* grad,
                        const std::array<T*, Rule::slots + 1>& slots) {
  return {size,
          [=](Range range) { kernels().of<T>().updates.of(rule)(rule, range, param, grad, slots.data()); }};
}

// Threads share all parameters' elements as if they were one array, so that many small ones cost one call.
inline KernelRun run_updates(const char* operation, bool is_double, const std::vector<ParamUpdate>& updates) {
  constexpr Index vector = 16;  // Threads meet at whole ones.
  Index total = 0;
  for (const ParamUpdate& update : updates) total += update.size;
  const int threads = parallel(total, elementwise_grain, [&](Range range) {
    Index first = 0;
    for (const ParamUpdate& update : updates) {
      const auto cut = [&](Index place) {
        return place - first >= update.size ? update.size
                                            : std::max<Index>(place - first, 0) / vector * vector;
      };
      const Range part{cut(range.begin), cut(range.end)};
      if (part.size() > 0) update.run(part);
      first += update.size;
    }
  });
  return run_of(operation, is_double, threads);
}

// The sum of squares, in an order that depends on the size alone.
template <class T>
double squared_norm(Index size, const T* values) {
  constexpr Index block = 2 * elementwise_grain;
  const auto run = kernels().of<T>().squared_norm;
  if (size <= block) return run({0, size}, values);
  const Index blocks = (size + block - 1) / block;
  const Buffer<double> sums(blocks);
  parallel(blocks, 1, [&](Range range) {
    for (Index i = range.begin; i < range.end; ++i) {
      sums.data()[i] = run({i * block, std::min((i + 1) * block, size)}, values);
    }
  });
  return std::accumulate(sums.data(), sums.data() + blocks, 0.0);
}

}  // namespace fusedlstm
