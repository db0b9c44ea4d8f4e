// The forward kernel of grid_sequence.h.
#pragma once

#include "hidden.cuh"
#include "product.cuh"

namespace fusedlstm::cuda {

// Pre-activations' part of x, on its way from memory.
template <class T, int passes>
struct InputGates {
  T z[passes][kGates];

  __device__ __forceinline__ void fetch(const SequenceForward<T>& p, const GridCell (&cells)[passes], int s) {
#pragma unroll
    for (int pass = 0; pass < passes; ++pass) {
      const GridCell& own = cells[pass];
      if (!own.exists || s >= own.length) continue;
      const T* from = p.z_x + (own.b * p.steps + s) * kGates * p.units + own.unit;
#pragma unroll
      for (int gate = 0; gate < kGates; ++gate) z[pass][gate] = from[gate * p.units];
    }
  }
};

// The results of a step of one row's unit, on their way to memory.
template <class T>
struct SteppedCell {
  T gates[kGates];
  T h;
  StateOf<T> c;

  __device__ __forceinline__ void store(const SequenceForward<T>& p, const GridCell& own, int s) const {
    const Index at = own.b * p.steps + s;
    p.y[at * p.units + own.unit] = h;
    if (p.gates != nullptr) {
#pragma unroll
      for (int gate = 0; gate < kGates; ++gate)
        p.gates[(at * kGates + gate) * p.units + own.unit] = gates[gate];
    }
    if (p.cells != nullptr) p.cells[((s + 1) * p.batch + own.b) * p.units + own.unit] = c;
  }
};

template <class F, GridForm form, class Maker>
__global__ void __launch_bounds__(grid_threads, 1)
    grid_forward_kernel(const __grid_constant__ SequenceForward<typename F::Number> p,
                        const __grid_constant__ GridLayout layout, unsigned char* workspace,
                        const __grid_constant__ Maker maker) {
  using T = typename F::Number;
  using S = StateOf<T>;
  using V = CellNumber<T, Maker>;
  using Block = Product<F, Direction::forward, has_options<Maker>, form>;
  using Items = GridItems<Block::tile.slice_columns / kGates, Block, SequenceForward<T>>;
  constexpr int passes = Items::passes;
  const Index H = p.units;
  const Items items(layout, p, layout.groups);
  GridExchange<F> exchange(layout, layout.pitch, workspace);
  const std::size_t weight_bytes = (layout.workspace_bytes - layout.weights) / gridDim.y;
  Block product(layout, dynamic_shared<unsigned char>(),
                workspace + layout.weights + blockIdx.y * weight_bytes);
  for (int slice = static_cast<int>(blockIdx.x); slice < layout.slices;
       slice += static_cast<int>(gridDim.x)) {
    const auto weight = [&](int column, int k) {
      const Index unit = static_cast<Index>(slice) * Items::slice_units + column % Items::slice_units;
      if (unit >= H || k >= H) return T{};
      return p.recurrent_kernel[k * kGates * H + column / Items::slice_units * H + unit];
    };
    product.take(weight, slice);
  }

  if constexpr (Items::single) {
    __syncthreads();
    const int column = static_cast<int>(threadIdx.x);
    const Index unit = static_cast<Index>(blockIdx.x) * Items::slice_units + column / kGates;
    if (column < Block::tile.slice_columns) {
      product.spare()[column] = unit < H ? bias_of(p, column % kGates * H + unit) : S(0);
    }
  }

  const auto factor_of = [&](Index state) {
    return p.recurrent_mask != nullptr ? widened(p.recurrent_mask[state]) : S(1);
  };
  items.for_each_cell([&](const GridCell& own) {
    const Index state = own.b * H + own.unit;
    const S c = p.c0 != nullptr ? p.c0[state] : S(0);
    *exchange.at(0, own.b, own.unit) = F::operand(factor_of(state) * widened(h_before(p, own, H, 0)));
    p.c[state] = c;
    if (p.cells != nullptr) p.cells[state] = c;
  });
  const int last = items.longest();
  // The present item's, with states, factors and what x adds: all their life long, where it is the only one.
  GridCell cells[passes];
  S c_of[passes] = {};
  S factors[passes] = {};
  InputGates<T, passes> inputs;
  const auto take_states = [&] {
#pragma unroll
    for (int pass = 0; pass < passes; ++pass) {
      const GridCell& own = cells[pass];
      if (!own.exists) continue;
      const Index state = own.b * H + own.unit;
      c_of[pass] = p.c[state];
      if (Items::single) factors[pass] = factor_of(state);
    }
  };
  items.cells(0, cells);
  if (Items::single) take_states();
  auto only = exchange.turning(0, 1, items.first_row(0), cells[0].b, cells[0].unit);
  if (last > 0) {
    exchange.barrier.arrive();
    inputs.fetch(p, cells, 0);
    exchange.barrier.wait();
  }

  for (int s = 0; s < last; ++s) {
    for (int item = 0; item < items.count(); ++item) {
      const bool is_last = item + 1 == items.count();
      if (item > 0) items.cells(item, cells);
      const T* const operands = Items::single ? only.read : exchange.at(s, items.first_row(item), 0);
      product.multiply(operands, items.groups(item), items.slice(item), [&] {
        if (!Items::single) take_states();
        if (item > 0) inputs.fetch(p, cells, s);
      });
      __syncthreads();
      SteppedCell<T> stepped[passes];
#pragma unroll
      for (int pass = 0; pass < passes; ++pass) {
        const GridCell& own = cells[pass];
        if (!own.exists || s >= own.length) continue;
        const auto sums = product.gates(own.row, own.column);
        const Gates<V> z = gates_of<V>([&](int gate) {
          S bias;
          if constexpr (Items::single) {
            bias = product.spare()[own.column * kGates + gate];
          } else {
            bias = bias_of(p, gate * H + own.unit);
          }
          return widened(inputs.z[pass][gate]) + bias + sums.v[gate];
        });
        const Step<V, Maker> step(maker, own.b, own.unit, H);
        const Stepped<V> now = step.forward(z, V(c_of[pass]), p.first_step + s);
        const V h = step.hidden(now, p.first_step + s, [&] { return V(widened(h_before(p, own, H, s))); });
        const T stored = narrowed<T>(h.v);
        const S factor = Items::single ? factors[pass] : factor_of(own.b * H + own.unit);
        *(Items::single ? only.write : exchange.at(s + 1, own.b, own.unit)) =
            F::operand(factor * widened(stored));
        c_of[pass] = now.c.v;
        for_each_gate(now.gates, [&](int gate, S value) { stepped[pass].gates[gate] = narrowed<T>(value); });
        stepped[pass].h = stored;
        stepped[pass].c = now.c.v;
      }
      // Operands that other blocks wait for are there; the rest takes its time while they are waited for.
      if (is_last && s + 1 < last) exchange.barrier.arrive();
#pragma unroll
      for (int pass = 0; pass < passes; ++pass) {
        const GridCell& own = cells[pass];
        if (!own.exists || s >= own.length) continue;
        stepped[pass].store(p, own, s);
        if (!Items::single) p.c[own.b * H + own.unit] = c_of[pass];
      }
      if (!is_last) __syncthreads();
    }
    if (Items::single) only.turn();
    if (s + 1 < last) {
      if (items.count() > 1) items.cells(0, cells);
      inputs.fetch(p, cells, s + 1);
      exchange.barrier.wait();
    }
  }

  items.for_each_cell([&](const GridCell& own) {
    if (Items::single) p.c[own.b * H + own.unit] = c_of[0];
    end_hidden(p, own, H);
  });
}

}  // namespace fusedlstm::cuda
