// The backward kernel of grid_sequence.h.
#pragma once

#include "hidden.cuh"
#include "product.cuh"

namespace fusedlstm::cuda {

// A step's tape and gradients of y, on their way from memory.
template <class T, int passes>
struct TapedStep {
  T gates[passes][kGates];
  T dy[passes];
  StateOf<T> c_prev[passes];
  StateOf<T> c[passes];

  __device__ __forceinline__ void fetch(const SequenceBackward<T>& p, const GridCell (&cells)[passes],
                                        int s) {
#pragma unroll
    for (int pass = 0; pass < passes; ++pass) {
      const GridCell& own = cells[pass];
      if (!own.exists || s >= own.length) continue;
      const Index state = own.b * p.units + own.unit;
      const Index at = own.b * p.steps + s;
      const T* from = p.gates + at * kGates * p.units + own.unit;
#pragma unroll
      for (int gate = 0; gate < kGates; ++gate) gates[pass][gate] = from[gate * p.units];
      dy[pass] = p.dy != nullptr ? p.dy[at * p.units + own.unit] : T{};
      c_prev[pass] = p.cells[s * p.batch * p.units + state];
      c[pass] = p.cells[(s + 1) * p.batch * p.units + state];
    }
  }
};

template <class F, GridForm form, class Maker>
__global__ void __launch_bounds__(grid_threads, 1)
    grid_backward_kernel(const __grid_constant__ SequenceBackward<typename F::Number> p,
                         const __grid_constant__ GridLayout layout, unsigned char* workspace,
                         const __grid_constant__ Maker maker) {
  using T = typename F::Number;
  using S = StateOf<T>;
  using V = CellNumber<T, Maker>;
  using Block = Product<F, Direction::backward, has_options<Maker>, form>;
  using Items = GridItems<Block::tile.slice_columns, Block, SequenceBackward<T>>;
  constexpr int passes = Items::passes;
  const Index H = p.units;
  const Items items(layout, p, layout.groups);
  GridExchange<F> exchange(layout, layout.pitch, workspace);
  S* const kept_states = reinterpret_cast<S*>(workspace + layout.kept_states);
  const std::size_t weight_bytes = (layout.workspace_bytes - layout.weights) / gridDim.y;
  Block product(layout, dynamic_shared<unsigned char>(),
                workspace + layout.weights + blockIdx.y * weight_bytes);
  for (int slice = static_cast<int>(blockIdx.x); slice < layout.slices;
       slice += static_cast<int>(gridDim.x)) {
    const auto weight = [&](int column, int k) {
      const Index unit = static_cast<Index>(slice) * Items::slice_units + column;
      if (unit >= H || k >= kGates * H) return T{};
      return p.recurrent_kernel[unit * kGates * H + k];
    };
    product.take(weight, slice);
  }
  const ThreadClip<V, Maker> clip(maker);

  items.for_each_cell([&](const GridCell& own) {
    const Index state = own.b * H + own.unit;
    p.dc0[state] = p.dc != nullptr ? p.dc[state] : S(0);
    for (Index s = own.length; s < p.steps; ++s) {
      T* const gates = p.gates + (own.b * p.steps + s) * kGates * H + own.unit;
      for (int gate = 0; gate < kGates; ++gate) gates[gate * H] = T{};
    }
    if (has_options<Maker> && p.dpeepholes != nullptr) {
      for (int i = 0; i < 3; ++i) p.dpeepholes[(3 * own.b + i) * H + own.unit] = S(0);
    }
  });

  const auto dh_of = [&](const GridCell& own, int s) {
    return dh_after(p, maker, own, H, s, kept_states, [&] { return product.sum(own.row, own.column); });
  };
  const int last = items.longest();
  // The present item's, what comes to its cell states, and the step's tape.
  GridCell cells[passes];
  S dc_of[passes] = {};
  TapedStep<T, passes> taped;
  const auto take_states = [&] {
#pragma unroll
    for (int pass = 0; pass < passes; ++pass) {
      const GridCell& own = cells[pass];
      if (own.exists) dc_of[pass] = p.dc0[own.b * H + own.unit];
    }
  };
  items.cells(0, cells);
  if (Items::single) take_states();
  auto only = exchange.turning(last, -1, items.first_row(0), cells[0].b, cells[0].unit);
  if (last > 0) taped.fetch(p, cells, last - 1);

  for (int s = last - 1; s >= 0; --s) {
    for (int item = 0; item < items.count(); ++item) {
      const bool is_last = item + 1 == items.count();
      if (item > 0) items.cells(item, cells);
      const auto meanwhile = [&] {
        if (!Items::single) take_states();
        if (item > 0) taped.fetch(p, cells, s);
      };
      if (s + 1 < last) {
        const T* const operands = Items::single ? only.read : exchange.at(s + 1, items.first_row(item), 0);
        product.multiply(operands, items.groups(item), items.slice(item), meanwhile);
        __syncthreads();
      } else {
        meanwhile();
      }
      T dz[passes][kGates];
#pragma unroll
      for (int pass = 0; pass < passes; ++pass) {
        const GridCell& own = cells[pass];
        if (!own.exists || s >= own.length) continue;
        const V dh(widened(taped.dy[pass]) + dh_of(own, s));
        const V c_prev(taped.c_prev[pass]);
        const Step<V, Maker> step(maker, clip, own.b, own.unit, H);
        const SteppedBack<V> d =
            step.backward(gates_of<V>([&](int gate) { return widened(taped.gates[pass][gate]); }), c_prev,
                          V(taped.c[pass]), dh, V(dc_of[pass]), p.first_step + s);
        dc_of[pass] = d.c_prev.v;
        if (step.keeps(ZonedState::h)) kept_states[own.b * H + own.unit] = d.to_h_prev.v;
        if (has_options<Maker> && p.dpeepholes != nullptr) {
          S* const sums = p.dpeepholes + 3 * own.b * H + own.unit;
          add_peepholes(d.z, c_prev, d.made, [&](int i) -> S& { return sums[i * H]; });
        }
        T* const operand = Items::single ? only.write : exchange.at(s, own.b, own.unit);
        for_each_gate(d.z, [&](int gate, S value) {
          dz[pass][gate] = narrowed<T>(value);
          operand[gate * H] = F::operand(widened(dz[pass][gate]));
        });
      }
      // Operands that other blocks wait for are there; the rest takes its time while they are waited for.
      if (is_last) exchange.barrier.arrive();
#pragma unroll
      for (int pass = 0; pass < passes; ++pass) {
        const GridCell& own = cells[pass];
        if (!own.exists || s >= own.length) continue;
        T* const gates = p.gates + (own.b * p.steps + s) * kGates * H + own.unit;
#pragma unroll
        for (int gate = 0; gate < kGates; ++gate) gates[gate * H] = dz[pass][gate];
        if (!Items::single) p.dc0[own.b * H + own.unit] = dc_of[pass];
      }
      if (!is_last) __syncthreads();
    }
    if (Items::single) only.turn();
    if (s > 0) {
      if (items.count() > 1) items.cells(0, cells);
      taped.fetch(p, cells, s - 1);
    }
    exchange.barrier.wait();
  }

  for (int item = 0; item < items.count(); ++item) {
    if (last > 0) {
      product.multiply(exchange.at(0, items.first_row(item), 0), items.groups(item), items.slice(item));
      __syncthreads();
    }
#pragma unroll
    for (int pass = 0; pass < passes; ++pass) {
      const GridCell own = items.cell(item, pass);
      if (!own.exists) continue;
      p.dh0[own.b * H + own.unit] = narrowed<T>(dh_of(own, -1));
      if (Items::single) p.dc0[own.b * H + own.unit] = dc_of[pass];
    }
    if (item + 1 < items.count()) __syncthreads();
  }
}

}  // namespace fusedlstm::cuda
