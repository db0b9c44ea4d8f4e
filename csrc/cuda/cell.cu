#include <type_traits>

#include "cell.h"
#include "pack.cuh"
#include "rows.cuh"
#include "step.cuh"

namespace fusedlstm::cuda {
namespace {

constexpr unsigned threads_per_block = threads_for_rows;

template <class T>
struct CellTraits {
  // Blocks that a multiprocessor holds at least, which leaves a thread the registers not to spill any.
  static constexpr unsigned blocks = sizeof(T) == sizeof(float) ? 3 : 2;
  static constexpr unsigned registers = 65536 / (blocks * threads_per_block);
  static_assert(blocks * threads_per_block <= 1024, "what the smallest multiprocessor (sm_75) has room for");
  static_assert(registers >= 16 * sizeof(T));
};

// The four gates of a pack of units.
template <class T, int count>
struct GatePacks {
  Pack<T, count> packs[kGates];

  __device__ __forceinline__ GatePacks(const T* row, Index units) {
#pragma unroll
    for (int gate = 0; gate < kGates; ++gate) packs[gate] = Pack<T, count>::load(row + gate * units);
  }
  __device__ __forceinline__ void store(T* row, Index units) const {
#pragma unroll
    for (int gate = 0; gate < kGates; ++gate) packs[gate].store(row + gate * units);
  }
  __device__ __forceinline__ Gates<Number<T>> at(int k) const {
    return gates_of<Number<T>>([&](int gate) { return packs[gate].v[k]; });
  }
  __device__ __forceinline__ void set(int k, const Gates<Number<T>>& gates) {
    for_each_gate(gates, [&](int gate, T value) { packs[gate].v[k] = value; });
  }
};

template <class T, int count, class Maker>
__global__ void __launch_bounds__(threads_per_block, CellTraits<T>::blocks)
    cell_forward_kernel(const CellForward<T> p, const __grid_constant__ Maker maker) {
  using V = Number<T>;
  using P = Pack<T, count>;
  for_each_own<count>(p.batch, p.units, [&](Index b, Index j) {
    const Index at = b * p.units + j;
    const Index row = kGates * b * p.units + j;
    GatePacks<T, count> gates(p.z + row, p.units);
    const P c_prev = P::load(p.c_prev + at);
    P c;
    P h;
    for (int k = 0; k < count; ++k) {
      const auto cell = maker.cell(j + k, p.units);
      const CellValues<V> values = cell_forward(cell, gates.at(k), V(c_prev.v[k]));
      gates.set(k, values.gates);
      c.v[k] = values.c.v;
      h.v[k] = hidden_state(cell, values.gates.o, values.c).v;
    }
    c.store(p.c + at);
    h.store(p.h + at);
    gates.store(p.gates + row, p.units);
  });
}

template <class T, int count, class Maker>
__global__ void __launch_bounds__(threads_per_block, CellTraits<T>::blocks)
    cell_backward_kernel(const CellBackward<T> p, const __grid_constant__ Maker maker) {
  using V = Number<T>;
  using P = Pack<T, count>;
  const ThreadClip<V, Maker> clip(maker);
  for_each_own<count>(p.batch, p.units, [&](Index b, Index j) {
    const Index at = b * p.units + j;
    const Index row = kGates * b * p.units + j;
    GatePacks<T, count> gates(p.gates + row, p.units);
    const P c_prev = P::load(p.c_prev + at);
    const P c = P::load(p.c + at);
    const P dh = P::load(p.dh + at);
    P dc{};
    if (p.dc != nullptr) dc = P::load(p.dc + at);
    for (int k = 0; k < count; ++k) {
      auto cell = maker.cell(j + k, p.units);
      clip.give(cell);
      const CellGradients<V> d = cell_backward(cell, gates.at(k), V(c_prev.v[k]), V(c.v[k]),
                                               cell.output(V(c.v[k])), V(dh.v[k]), V(dc.v[k]));
      gates.set(k, d.z);
      dc.v[k] = d.c_prev.v;
    }
    gates.store(p.dz + row, p.units);
    dc.store(p.dc_prev + at);
  });
}

// Calls run(maker, count) with what the options ask for and the width of the accesses, as constants. Options
// are code that would be long for several units at once; neighbouring threads' accesses still come together.
template <class T, class Run>
void with_variant(const CellOptions<T>* options, bool packs, const Run& run) {
  constexpr std::integral_constant<int, 1> one;
  constexpr std::integral_constant<int, widest<T>> many;
  if (options != nullptr) {
    run(WithOptions<T>{*options}, one);
  } else if (packs) {
    run(Plain{}, many);
  } else {
    run(Plain{}, one);
  }
}

}  // namespace

template <class T>
void cell_forward(const CellForward<T>& p, const CellOptions<T>* options, cudaStream_t stream) {
  const bool packs = in_packs<T>(p.units, p.z, p.c_prev, p.h, p.c, p.gates);
  with_variant(options, packs, [&](const auto& maker, auto count) {
    launch_rows("cell_forward", p.batch, p.units / count, stream,
                cell_forward_kernel<T, count(), std::decay_t<decltype(maker)>>, p, maker);
  });
}

template <class T>
void cell_backward(const CellBackward<T>& p, const CellOptions<T>* options, cudaStream_t stream) {
  const bool packs = in_packs<T>(p.units, p.gates, p.c_prev, p.c, p.dh, p.dc, p.dz, p.dc_prev);
  with_variant(options, packs, [&](const auto& maker, auto count) {
    launch_rows("cell_backward", p.batch, p.units / count, stream,
                cell_backward_kernel<T, count(), std::decay_t<decltype(maker)>>, p, maker);
  });
}

template void cell_forward(const CellForward<float>&, const CellOptions<float>*, cudaStream_t);
template void cell_forward(const CellForward<double>&, const CellOptions<double>*, cudaStream_t);
template void cell_backward(const CellBackward<float>&, const CellOptions<float>*, cudaStream_t);
template void cell_backward(const CellBackward<double>&, const CellOptions<double>*, cudaStream_t);

}  // namespace fusedlstm::cuda
