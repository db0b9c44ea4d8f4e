// Kernels that touch each element once: the cell alone, dropout, optimizers.
#pragma once

#include "../../math/cell.h"
#include "../kernels.h"
#include "denormals.h"
#include "gemm.h"
#include "hash.h"
#include "rows.h"
#include "vec_math.h"

namespace fusedlstm::FUSEDLSTM_ISA {

template <class T>
void cell_forward_rows(Index units, Range rows, const T* z, const T* c_prev, T* h, T* c, T* gates) {
  using V = Vec<T>;
  const PlainCell cell;
  const FlushDenormals flush;
  for (Index b = rows.begin; b < rows.end; ++b) {
    const T* zb = z + b * kGates * units;
    T* out = gates + b * kGates * units;
    for_each_vector_in<T>({0, units}, [&](Index j, auto lanes) FUSEDLSTM_INLINE {
      const Gates<V> preactivations{V::load(zb + j, lanes), V::load(zb + units + j, lanes),
                                    V::load(zb + 2 * units + j, lanes), V::load(zb + 3 * units + j, lanes)};
      const CellValues<V> values = cell_forward(cell, preactivations, V::load(c_prev + b * units + j, lanes));
      values.c.store(c + b * units + j, lanes);
      hidden_state(cell, values.gates.o, values.c).store(h + b * units + j, lanes);
      values.gates.i.store(out + j, lanes);
      values.gates.f.store(out + units + j, lanes);
      values.gates.g.store(out + 2 * units + j, lanes);
      values.gates.o.store(out + 3 * units + j, lanes);
    });
  }
}

template <class T>
void cell_backward_rows(Index units, Range rows, const T* gates, const T* c_prev, const T* c, const T* dh,
                        const T* dc, T* dz, T* dc_prev) {
  using V = Vec<T>;
  const PlainCell cell;
  const FlushDenormals flush;
  for (Index b = rows.begin; b < rows.end; ++b) {
    const T* in = gates + b * kGates * units;
    T* out = dz + b * kGates * units;
    for_each_vector_in<T>({0, units}, [&](Index j, auto lanes) FUSEDLSTM_INLINE {
      const Index at = b * units + j;
      const Gates<V> g{V::load(in + j, lanes), V::load(in + units + j, lanes),
                       V::load(in + 2 * units + j, lanes), V::load(in + 3 * units + j, lanes)};
      const V dc_in = dc != nullptr ? V::load(dc + at, lanes) : V(0);
      const V c_now = V::load(c + at, lanes);
      const CellGradients<V> d = cell_backward(cell, g, V::load(c_prev + at, lanes), c_now,
                                               cell.output(c_now), V::load(dh + at, lanes), dc_in);
      d.z.i.store(out + j, lanes);
      d.z.f.store(out + units + j, lanes);
      d.z.g.store(out + 2 * units + j, lanes);
      d.z.o.store(out + 3 * units + j, lanes);
      d.c_prev.store(dc_prev + at, lanes);
    });
  }
}

template <class T>
void dropout(Range rows, Index steps, Index features, bool share_steps, std::uint64_t seed,
             std::uint32_t threshold, T scale, Sequence<const T> x, T* y) {
  for (Index b = rows.begin; b < rows.end; ++b) {
    for (Index t = 0; t < steps; ++t) {
      const RunHash hash(seed, static_cast<std::uint64_t>(share_steps ? b : b * steps + t));
      const T* in = x.at(b, t);
      T* out = y + (b * steps + t) * features;
      // in and out are the same or apart, so elements do not depend on each other. Clang finds that out as it
      // runs, and does not know this pragma.
#if !defined(__clang__)
  #pragma GCC ivdep
#endif
      for (Index j = 0; j < features; ++j) {
        const T kept = in[j] * scale;
        out[j] = hash(static_cast<std::uint32_t>(j)) >= threshold ? kept : T(0);
      }
    }
  }
}

template <class T>
void scatter_rows(const Index* ids, Index count, Index features, Range columns, const T* dy, T* sums) {
  using V = Vec<T>;
  const FlushDenormals flush;
  for (Index n = 0; n < count; ++n) {
    const T* in = dy + n * features;
    T* out = sums + ids[n] * features;
    for_each_vector_in<T>(columns, [&](Index j, auto lanes) FUSEDLSTM_INLINE {
      (V::load(out + j, lanes) + V::load(in + j, lanes)).store(out + j, lanes);
    });
  }
}

template <class T, class Rule>
void update(const Rule& rule, Range range, T* param, const T* grad, T* const* slots) {
  using V = Vec<T>;
  constexpr int count = Rule::slots + 1;
  const FlushDenormals flush;
  const Rule constants = rule;  // a copy that stores into arrays cannot change
  T* at[count];
  bool has[count];
  for (int k = 0; k < count; ++k) {
    at[k] = slots[k];
    has[k] = slots[k] != nullptr;
  }
  for_each_vector_in<T>(range, [&](Index i, auto lanes) FUSEDLSTM_INLINE {
    V p = V::load(param + i, lanes);
    V values[count];
    for (int k = 0; k < count; ++k) values[k] = has[k] ? V::load(at[k] + i, lanes) : V(0);
    apply_rule(constants, p, V::load(grad + i, lanes), has, values);
    p.store(param + i, lanes);
    for (int k = 0; k < count; ++k) {
      if (has[k]) values[k].store(at[k] + i, lanes);
    }
  });
}

template <class T, class... Rules>
constexpr UpdateKernels<T, RuleList<Rules...>> update_kernels(RuleList<Rules...>) {
  return {UpdateKernel<T, Rules>{update<T, Rules>}...};
}

template <class T>
double squared_norm(Range range, const T* values) {
  // Sixteen sums: enough for the compiler's vectors, and an order that depends on the size alone.
  constexpr Index lanes = 16;
  double sums[lanes] = {};
  Index i = range.begin;
  for (; i + lanes <= range.end; i += lanes) {
    for (Index j = 0; j < lanes; ++j) {
      const double value = static_cast<double>(values[i + j]);
      sums[j] += value * value;
    }
  }
  for (Index j = 0; i < range.end; ++i, ++j)
    sums[j] += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  double total = 0.0;
  for (const double sum : sums) total += sum;
  return total;
}

template <class T>
double multiply_adds(Index rounds) {
  using V = Vec<T>;
  constexpr int R = Tile<T>::rows;
  constexpr int unroll = 16;
  V acc[R][Tile<T>::vectors];
  for (auto& row : acc) {
    for (V& sum : row) sum = V(0);
  }
  V a(T(0.5));
  V b(T(1));
  for (Index i = 0; i < rounds; ++i) {
    // Hidden from the optimizer, which would otherwise compute the closed form.
    asm volatile("" : "+m"(a), "+m"(b));
    for (int u = 0; u < unroll; ++u) {
      for (int r = 0; r < R; ++r) {
        for (int j = 0; j < Tile<T>::vectors; ++j) acc[r][j] = fma(acc[r][j], a, b);
      }
    }
  }
  asm volatile("" : : "m"(acc));
  return 2.0 * static_cast<double>(rounds) * unroll * R * Tile<T>::columns;
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
