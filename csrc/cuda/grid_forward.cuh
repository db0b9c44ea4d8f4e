// The forward kernel of grid_sequence.h.
#pragma once

#include "../cell.h"
#include "cell_maker.cuh"
#include "grid_items.cuh"
#include "product.cuh"
#include "zoneout.cuh"

namespace fusedlstm::cuda {

// Pre-activations' part of x, on its way from memory while the item before it is computed.
template <class T, int passes>
struct InputGates {
  T z[passes][4];

  template <class Items>
  __device__ __forceinline__ void fetch(const SequenceForward<T>& p, const Items& items, int item, int s) {
#pragma unroll
    for (int pass = 0; pass < passes; ++pass) {
      const GridCell own = items.cell(item, pass);
      if (!own.exists || s >= own.length) continue;
      const T* from = p.z_x + (own.b * p.steps + s) * 4 * p.units + own.unit;
#pragma unroll
      for (int gate = 0; gate < 4; ++gate) z[pass][gate] = from[gate * p.units];
    }
  }
};

template <class F, bool resident, class Maker>
__global__ void __launch_bounds__(grid_threads, 1)
    grid_forward_kernel(const __grid_constant__ SequenceForward<typename F::Number> p,
                        const __grid_constant__ GridLayout layout, unsigned char* workspace,
                        const __grid_constant__ Maker maker) {
  using T = typename F::Number;
  using S = StateOf<T>;
  using V = Number<S>;
  constexpr bool has_options = !std::is_same_v<Maker, Plain>;
  using Block = Product<F, Direction::forward, has_options, resident>;
  using Items = GridItems<Block::tile.slice_columns / 4, Block, SequenceForward<T>>;
  constexpr int passes = Items::passes;
  const Index H = p.units;
  const Index B = p.batch;
  const Items items(layout, p, layout.groups);
  const GridExchange<F> exchange(layout, layout.pitch, workspace);
  const std::size_t weight_bytes = (layout.workspace_bytes - layout.weights) / gridDim.y;
  Block product(layout, dynamic_shared<unsigned char>(),
                workspace + layout.weights + blockIdx.y * weight_bytes);
  for (int slice = static_cast<int>(blockIdx.x); slice < layout.slices;
       slice += static_cast<int>(gridDim.x)) {
    const auto weight = [&](int column, int k) {
      const Index unit = static_cast<Index>(slice) * Items::slice_units + column % Items::slice_units;
      if (unit >= H || k >= H) return T{};
      return p.recurrent_kernel[k * 4 * H + column / Items::slice_units * H + unit];
    };
    product.take(weight, slice);
  }

  const auto factor_of = [&](Index state) {
    return p.recurrent_mask != nullptr ? widened(p.recurrent_mask[state]) : S(1);
  };
  items.for_each_cell([&](const GridCell& own) {
    const Index state = own.b * H + own.unit;
    const S h = p.h0 != nullptr ? widened(p.h0[state]) : S(0);
    const S c = p.c0 != nullptr ? p.c0[state] : S(0);
    *exchange.at(0, own.b, own.unit) = F::operand(factor_of(state) * h);
    p.c[state] = c;
    if (p.cells != nullptr) p.cells[state] = c;
  });
  const int last = items.longest();
  InputGates<T, passes> now;
  InputGates<T, passes> next;
  if (last > 0) {
    next.fetch(p, items, 0, 0);
    exchange.meet();
  }

  for (int s = 0; s < last; ++s) {
    for (int item = 0; item < items.count(); ++item) {
      now = next;
      if (item + 1 < items.count()) {
        next.fetch(p, items, item + 1, s);
      } else if (s + 1 < last) {
        next.fetch(p, items, 0, s + 1);
      }
      // Read before the product, so that they have arrived after it.
      S c_before[passes] = {};
#pragma unroll
      for (int pass = 0; pass < passes; ++pass) {
        const GridCell own = items.cell(item, pass);
        if (own.exists && s < own.length) c_before[pass] = p.c[own.b * H + own.unit];
      }
      const int slice = items.slice(item);
      product.multiply(exchange.at(s, items.first_row(item), 0), items.groups(item), slice);
      __syncthreads();
#pragma unroll
      for (int pass = 0; pass < passes; ++pass) {
        const GridCell own = items.cell(item, pass);
        if (!own.exists || s >= own.length) continue;
        const Index state = own.b * H + own.unit;
        const Index at = own.b * p.steps + s;
        V z[4];
#pragma unroll
        for (int gate = 0; gate < 4; ++gate) {
          z[gate] = V(widened(now.z[pass][gate]) + bias_of(p, gate * H + own.unit) +
                      product.sum(own.row, gate * Items::slice_units + own.column));
        }
        const auto cell = maker.cell(own.unit, H);
        const UnitZoneout<S, Maker> zoneout(maker, own.b, own.unit);
        const V c_prev(c_before[pass]);
        const CellValues<V> values = cell_forward(cell, Gates<V>{z[0], z[1], z[2], z[3]}, c_prev);
        V h = hidden_state(cell, values.gates.o, values.c);
        V c = values.c;
        if (zoneout.keeps(ZonedState::c)) c = zoneout.at(ZonedState::c, p.first_step + s).mixed(c_prev, c);
        if (zoneout.keeps(ZonedState::h)) {
          const T* before = s > 0 ? p.y + (at - 1) * H + own.unit : p.h0 != nullptr ? p.h0 + state : nullptr;
          const V h_prev(before != nullptr ? widened(*before) : S(0));
          h = zoneout.at(ZonedState::h, p.first_step + s).mixed(h_prev, h);
        }
        const T stored = narrowed<T>(h.v);
        *exchange.at(s + 1, own.b, own.unit) = F::operand(factor_of(state) * widened(stored));
        p.y[at * H + own.unit] = stored;
        p.c[state] = c.v;
        if (p.gates != nullptr) {
          T* const gates = p.gates + at * 4 * H + own.unit;
          gates[0] = narrowed<T>(values.gates.i.v);
          gates[H] = narrowed<T>(values.gates.f.v);
          gates[2 * H] = narrowed<T>(values.gates.g.v);
          gates[3 * H] = narrowed<T>(values.gates.o.v);
        }
        if (p.cells != nullptr) p.cells[(s + 1) * B * H + state] = c.v;
      }
      if (item + 1 < items.count()) __syncthreads();
    }
    if (s + 1 < last) exchange.meet();
  }

  items.for_each_cell([&](const GridCell& own) {
    const Index state = own.b * H + own.unit;
    T* const y = p.y + own.b * p.steps * H + own.unit;
    const T h = own.length > 0 ? y[(own.length - 1) * H] : p.h0 != nullptr ? p.h0[state] : T{};
    p.h[state] = h;
    for (Index s = own.length; s < p.steps; ++s) y[s * H] = p.zero_padding ? T{} : h;
  });
}

}  // namespace fusedlstm::cuda
