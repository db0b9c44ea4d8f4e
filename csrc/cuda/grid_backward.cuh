// The backward kernel of grid_sequence.h.
#pragma once

#include "../math/cell.h"
#include "cell_maker.cuh"
#include "grid_items.cuh"
#include "product.cuh"
#include "zoneout.cuh"

namespace fusedlstm::cuda {

// What a step's cells left and are given, on its way from memory.
template <class T, int passes>
struct TapedStep {
  T gates[passes][4];
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
      const T* from = p.gates + at * 4 * p.units + own.unit;
#pragma unroll
      for (int gate = 0; gate < 4; ++gate) gates[pass][gate] = from[gate * p.units];
      dy[pass] = p.dy != nullptr ? p.dy[at * p.units + own.unit] : T{};
      c_prev[pass] = p.cells[s * p.batch * p.units + state];
      c[pass] = p.cells[(s + 1) * p.batch * p.units + state];
    }
  }
};

// The gradient of a row's last hidden state: what was given for it, and where y repeats it, what was given
// there.
template <class T>
__device__ __forceinline__ StateOf<T> last_dh(const SequenceBackward<T>& p, const GridCell& own) {
  const Index state = own.b * p.units + own.unit;
  StateOf<T> dh = p.dh != nullptr ? widened(p.dh[state]) : StateOf<T>(0);
  if (p.dy == nullptr || p.zero_padding) return dh;
#pragma unroll 1
  for (Index s = p.steps - 1; s >= own.length; --s) {
    dh += widened(p.dy[(own.b * p.steps + s) * p.units + own.unit]);
  }
  return dh;
}

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
      if (unit >= H || k >= 4 * H) return T{};
      return p.recurrent_kernel[unit * 4 * H + k];
    };
    product.take(weight, slice);
  }
  const ThreadClip<S, Maker> clip(maker);

  items.for_each_cell([&](const GridCell& own) {
    const Index state = own.b * H + own.unit;
    p.dc0[state] = p.dc != nullptr ? p.dc[state] : S(0);
    for (Index s = own.length; s < p.steps; ++s) {
      T* const gates = p.gates + (own.b * p.steps + s) * 4 * H + own.unit;
      for (int gate = 0; gate < 4; ++gate) gates[gate * H] = T{};
    }
    if (has_options<Maker> && p.dpeepholes != nullptr) {
      for (int i = 0; i < 3; ++i) p.dpeepholes[(3 * own.b + i) * H + own.unit] = S(0);
    }
  });

  // What comes to h of a step from the one after it, whose product was made.
  const auto from_next = [&](const GridCell& own) {
    const Index state = own.b * H + own.unit;
    S dh = product.sum(own.row, own.column);
    if (p.recurrent_mask != nullptr) dh *= widened(p.recurrent_mask[state]);
    if constexpr (has_options<Maker>) {
      if (maker.options.zoneout.h > 0) dh += kept_states[state];
    }
    return dh;
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
      T dz[passes][4];
#pragma unroll
      for (int pass = 0; pass < passes; ++pass) {
        const GridCell& own = cells[pass];
        if (!own.exists || s >= own.length) continue;
        const V dh(widened(taped.dy[pass]) + (s + 1 < own.length ? from_next(own) : last_dh(p, own)));
        const Gates<V> activated{V(widened(taped.gates[pass][0])), V(widened(taped.gates[pass][1])),
                                 V(widened(taped.gates[pass][2])), V(widened(taped.gates[pass][3]))};
        const V c_prev(taped.c_prev[pass]);
        V c(taped.c[pass]);
        V to_h = dh;
        V to_c(dc_of[pass]);
        V kept_c(0);
        bool keeps_c = false;
        auto cell = maker.cell(own.unit, H);
        clip.give(cell);
        if constexpr (has_options<Maker>) {
          const UnitZoneout<S, Maker> zoneout(maker, own.b, own.unit);
          keeps_c = zoneout.keeps(ZonedState::c);
          if (zoneout.keeps(ZonedState::h)) {
            const KeptShare<V> share = zoneout.at(ZonedState::h, p.first_step + s);
            kept_states[own.b * H + own.unit] = share.to_previous(to_h).v;
            to_h = share.to_fresh(to_h);
          }
          if (keeps_c) {
            const KeptShare<V> share = zoneout.at(ZonedState::c, p.first_step + s);
            kept_c = share.to_previous(to_c);
            to_c = share.to_fresh(to_c);
            c = new_cell(cell, activated.i, activated.f, activated.g, c_prev);
          }
        }
        const CellGradients<V> d = cell_backward(cell, activated, c_prev, c, cell.output(c), to_h, to_c);
        dc_of[pass] = keeps_c ? (d.c_prev + kept_c).v : d.c_prev.v;
        if (has_options<Maker> && p.dpeepholes != nullptr) {
          S* const sums = p.dpeepholes + 3 * own.b * H + own.unit;
          sums[0] = ::fma(d.z.i.v, c_prev.v, sums[0]);
          sums[H] = ::fma(d.z.f.v, c_prev.v, sums[H]);
          sums[2 * H] = ::fma(d.z.o.v, c.v, sums[2 * H]);
        }
        T* const operand = Items::single ? only.write : exchange.at(s, own.b, own.unit);
        const V of_gates[4] = {d.z.i, d.z.f, d.z.g, d.z.o};
#pragma unroll
        for (int gate = 0; gate < 4; ++gate) {
          dz[pass][gate] = narrowed<T>(of_gates[gate].v);
          operand[gate * H] = F::operand(widened(dz[pass][gate]));
        }
      }
      // What other blocks wait for is there; the rest takes its time while they are waited for.
      if (is_last) exchange.barrier.arrive();
#pragma unroll
      for (int pass = 0; pass < passes; ++pass) {
        const GridCell& own = cells[pass];
        if (!own.exists || s >= own.length) continue;
        T* const gates = p.gates + (own.b * p.steps + s) * 4 * H + own.unit;
#pragma unroll
        for (int gate = 0; gate < 4; ++gate) gates[gate * H] = dz[pass][gate];
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
      p.dh0[own.b * H + own.unit] = narrowed<T>(own.length > 0 ? from_next(own) : last_dh(p, own));
      if (Items::single) p.dc0[own.b * H + own.unit] = dc_of[pass];
    }
    if (item + 1 < items.count()) __syncthreads();
  }
}

}  // namespace fusedlstm::cuda
