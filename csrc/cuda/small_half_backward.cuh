// The backward kernel of small_half_sequence.h. A warp has the columns of dh of its units, and multiplies the
// gradients of all gates.
#pragma once

#include "../cell.h"
#include "small_half.cuh"
#include "zoneout.cuh"

namespace fusedlstm::cuda {

// H is at most 32 chunks; `paired` if it is even, and all arrays are aligned to pairs.
template <class F, int chunks, bool paired, class Maker>
__global__ void __launch_bounds__(64 * chunks, 1)
    small_half_backward_kernel(const __grid_constant__ SequenceBackward<typename F::Number> p,
                               const __grid_constant__ Maker maker) {
  using T = typename F::Number;
  using V = CellNumber<Maker>;
  using Rows = OperandRows<4 * 32 * chunks>;
  constexpr int gate_words = 16 * chunks;
  constexpr int threads = 64 * chunks;
  __shared__ __align__(128) unsigned operands[2 * Rows::size];
  // A thread's own sums over steps, where registers hold too much else.
  __shared__ float dpeepholes[has_options<Maker> ? 12 : 1][threads];
  const int H = static_cast<int>(p.units);
  const int steps = static_cast<int>(p.steps);
  const LaneCells<paired> own(p);
  const int last = longest_of_block(p);

  unsigned weights[4][chunks][2][4];
#pragma unroll
  for (int gate = 0; gate < 4; ++gate) {
#pragma unroll
    for (int i = 0; i < chunks; ++i) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int k = 32 * i + lane_of_warp() % 4 * 8 + 2 * e;
        const PairAccess<paired> along{k + 1 < H};
        const T* const from = p.recurrent_kernel + own.unit * 4 * H + gate * H + k;
        weights[gate][i][e / 2][e % 2 * 2] = own.has_unit && k < H ? along.load(from) : 0;
        weights[gate][i][e / 2][e % 2 * 2 + 1] = own.access.both && k < H ? along.load(from + 4 * H) : 0;
      }
    }
  }

  float factor[4];
  float dh[4];
  float dc[4];
  own.load(factor, p.recurrent_mask, H, 1.0f);
  own.load(dh, p.dh, H);
  own.load(dc, p.dc, H);
  const ThreadClip<float, Maker> clip(maker);
  decltype(maker.cell(0, 0)) cells[2] = {maker.cell(own.unit_or_first(0), H),
                                         maker.cell(own.unit_or_first(1), H)};
  clip.give(cells[0]);
  clip.give(cells[1]);
  unsigned* const write_at = operands + own.unit / 2;
  const unsigned* const read_at = operands + Rows::row(lane_of_warp() / 4) + lane_of_warp() % 4 * 4;

  // Of the lane's first unit in each of its rows: the step that is fetched next, and the one computed next.
  const T* from_gates[2];
  const T* from_dy[2];
  const float* from_cells[2];
  T* to_gates[2];
  Rows::clear(operands);
  __syncthreads();
  float c[4];
  [[maybe_unused]] const auto dpeephole = [&](int i, int at) -> float& { return dpeepholes[4 * i + at][threadIdx.x]; };
  if constexpr (has_options<Maker>) {
#pragma unroll
    for (int i = 0; i < 12; ++i) dpeephole(0, i) = 0;
  }
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    c[j] = c[2 + j] = 0;
    const Index b = own.exists[j] ? own.b + j : 0;
    const int unit = own.exists[j] ? own.unit : 0;
    // What y repeats beyond a row's length is its last hidden state.
    if (own.exists[j]) {
      for (int s = steps - 1; s >= own.length[j]; --s) {
        const Index at = b * p.steps + s;
        if (p.dy != nullptr && !p.zero_padding) {
          const unsigned dy = own.access.load(p.dy + at * H + unit);
          dh[j] += first_of<T>(dy);
          dh[2 + j] += second_of<T>(dy);
        }
#pragma unroll
        for (int gate = 0; gate < 4; ++gate) own.access.store(p.gates + (at * 4 + gate) * H + unit, 0u);
      }
    }
    const Index at = b * p.steps + (last > 0 ? last - 1 : 0);
    to_gates[j] = p.gates + at * 4 * H + unit;
    from_gates[j] = to_gates[j];
    from_dy[j] = p.dy != nullptr ? p.dy + at * H + unit : nullptr;
    from_cells[j] = p.cells + (last * p.batch + b) * H + unit;
    if (own.length[j] == last) {
      const float2 pair = own.access.load(from_cells[j]);
      c[j] = pair.x;
      c[2 + j] = pair.y;
    }
  }
  unsigned gates[4][2] = {};
  unsigned dy[2] = {};
  float2 c_before[2] = {};
  const auto fetch = [&](int s) {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      from_cells[j] -= p.batch * H;
      // A step's c is also what the one after it began with.
      if (s <= own.length[j]) c_before[j] = own.access.load(from_cells[j]);
      if (s < own.length[j]) {
#pragma unroll
        for (int gate = 0; gate < 4; ++gate) gates[gate][j] = own.access.load(from_gates[j] + gate * H);
        if (p.dy != nullptr) dy[j] = own.access.load(from_dy[j]);
      }
      from_gates[j] -= 4 * H;
      if (p.dy != nullptr) from_dy[j] -= H;
    }
  };
  if (last > 0) fetch(last - 1);

  for (int s = last - 1; s >= 0; --s) {
    // Of all cells, real or not, so that they have no branches and are computed at once.
    float dz[4][4];
    float fresh_dc[4];
    [[maybe_unused]] float kept[4] = {};  // what zoneout of h hands to the step before as it is
#pragma unroll
    for (int at = 0; at < 4; ++at) {
      const int j = at % 2;
      const bool first = at < 2;
      const auto part = [&](unsigned bits) { return first ? first_of<T>(bits) : second_of<T>(bits); };
      const auto& cell = cells[at / 2];
      const Gates<V> activated{V(part(gates[0][j])), V(part(gates[1][j])), V(part(gates[2][j])),
                               V(part(gates[3][j]))};
      const V c_prev(first ? c_before[j].x : c_before[j].y);
      V c_of_cell(c[at]);
      V to_h(dh[at] + part(dy[j]));
      V to_c(dc[at]);
      [[maybe_unused]] V kept_c(0);
      if constexpr (has_options<Maker>) {
        const UnitZoneout<float, Maker> zoneout(maker, own.b + j, own.unit + at / 2);
        if (zoneout.keeps(ZonedState::h)) {
          const KeptShare<V> share = zoneout.at(ZonedState::h, p.first_step + s);
          kept[at] = share.to_previous(to_h).v;
          to_h = share.to_fresh(to_h);
        }
        if (zoneout.keeps(ZonedState::c)) {
          const KeptShare<V> share = zoneout.at(ZonedState::c, p.first_step + s);
          kept_c = share.to_previous(to_c);
          to_c = share.to_fresh(to_c);
          c_of_cell = new_cell(cell, activated.i, activated.f, activated.g, c_prev);
        }
      }
      const CellGradients<V> d =
          cell_backward(cell, activated, c_prev, c_of_cell, cell.output(c_of_cell), to_h, to_c);
      dz[0][at] = d.z.i.v;
      dz[1][at] = d.z.f.v;
      dz[2][at] = d.z.g.v;
      dz[3][at] = d.z.o.v;
      fresh_dc[at] = (d.c_prev + kept_c).v;
      if constexpr (has_options<Maker>) {
        if (p.dpeepholes != nullptr && s < own.length[j]) {
          dpeephole(0, at) = ::fma(d.z.i.v, c_prev.v, dpeephole(0, at));
          dpeephole(1, at) = ::fma(d.z.f.v, c_prev.v, dpeephole(1, at));
          dpeephole(2, at) = ::fma(d.z.o.v, c_of_cell.v, dpeephole(2, at));
        }
      }
    }
    const int buffer = s % 2 * Rows::size;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      if (s < own.length[j]) {
        dc[j] = fresh_dc[j];
        dc[2 + j] = fresh_dc[2 + j];
#pragma unroll
        for (int gate = 0; gate < 4; ++gate) {
          const unsigned stored = narrowed_pair<T>(dz[gate][j], own.access.both ? dz[gate][2 + j] : 0.0f);
          write_at[buffer + Rows::row(own.row + j) + gate * gate_words] = stored;
          own.access.store(to_gates[j] + gate * H, stored);
        }
      }
      c[j] = c_before[j].x;
      c[2 + j] = c_before[j].y;
      to_gates[j] -= 4 * H;
    }
    __syncthreads();

    // A sum for each gate, so that no product waits for the one before it.
    float sums[4][4] = {};
#pragma unroll
    for (int i = 0; i < chunks; ++i) {
      uint4 chunk[4];
#pragma unroll
      for (int gate = 0; gate < 4; ++gate) chunk[gate] = Rows::chunk(read_at + buffer, gate * chunks + i);
      if (i + 1 == chunks && s > 0) fetch(s - 1);
#pragma unroll
      for (int gate = 0; gate < 4; ++gate) multiply_chunk<F>(sums[gate], weights[gate][i], chunk[gate]);
    }
    // Beyond its length a row hands on what it was given.
#pragma unroll
    for (int at = 0; at < 4; ++at) {
      if (s < own.length[at % 2]) {
        dh[at] = factor[at] * ((sums[0][at] + sums[1][at]) + (sums[2][at] + sums[3][at]));
        if constexpr (has_options<Maker>) dh[at] += kept[at];
      }
    }
  }

#pragma unroll
  for (int j = 0; j < 2; ++j) {
    if (!own.exists[j]) continue;
    const Index state = (own.b + j) * H + own.unit;
    own.access.store(p.dh0 + state, narrowed_pair<T>(dh[j], dh[2 + j]));
    own.access.store(p.dc0 + state, dc[j], dc[2 + j]);
    if constexpr (has_options<Maker>) {
      if (p.dpeepholes == nullptr) continue;
#pragma unroll
      for (int i = 0; i < 3; ++i) {
        float* const to = p.dpeepholes + (3 * (own.b + j) + i) * H + own.unit;
        own.access.store(to, dpeephole(i, j), dpeephole(i, 2 + j));
      }
    }
  }
}

}  // namespace fusedlstm::cuda
