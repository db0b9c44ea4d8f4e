// The forward kernel of small_half_sequence.h. A warp has the columns of all four gates of its units.
#pragma once

#include "small_half.cuh"

namespace fusedlstm::cuda {

// Begins the sums of a gate with z_x and the bias, to which its products are added.
template <class T>
__device__ __forceinline__ void begin_sums(float (&sums)[4], unsigned z_of_row, unsigned z_of_next,
                                           unsigned bias) {
  sums[0] = first_of<T>(z_of_row) + first_of<T>(bias);
  sums[1] = first_of<T>(z_of_next) + first_of<T>(bias);
  sums[2] = second_of<T>(z_of_row) + second_of<T>(bias);
  sums[3] = second_of<T>(z_of_next) + second_of<T>(bias);
}

// H is at most 32 chunks; `paired` if it is even, and all arrays are aligned to pairs.
template <class F, int chunks, bool paired, class Maker>
__global__ void __launch_bounds__(64 * chunks, 1)
    small_half_forward_kernel(const __grid_constant__ SequenceForward<typename F::Number> p,
                              const __grid_constant__ Maker maker) {
  using T = typename F::Number;
  using V = CellNumber<T, Maker>;
  using Rows = OperandRows<32 * chunks>;
  __shared__ __align__(128) unsigned operands[2 * Rows::size];
  const int H = static_cast<int>(p.units);
  const LaneCells<paired> own(p);
  const int last = longest_of_block(p);

  unsigned weights[kGates][chunks][2][4];
#pragma unroll
  for (int gate = 0; gate < kGates; ++gate) {
#pragma unroll
    for (int i = 0; i < chunks; ++i) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int k = 32 * i + lane_of_warp() % 4 * 8 + 2 * e;
        const T* const from = p.recurrent_kernel + k * kGates * H + gate * H + own.unit;
        const unsigned low = own.has_unit && k < H ? own.access.load(from) : 0;
        const unsigned high = own.has_unit && k + 1 < H ? own.access.load(from + kGates * H) : 0;
        weights[gate][i][e / 2][e % 2 * 2] = (low & 0xffffu) | high << 16;
        weights[gate][i][e / 2][e % 2 * 2 + 1] = low >> 16 | (high & 0xffff0000u);
      }
    }
  }

  unsigned bias[kGates] = {};
#pragma unroll
  for (int gate = 0; gate < kGates; ++gate) {
    if (p.bias != nullptr && own.has_unit) bias[gate] = own.access.load(p.bias + gate * H + own.unit);
  }
  float factor[4];  // of h on its way into a step
  float start[4];
  float c[4];
  own.load(factor, p.recurrent_mask, H, 1.0f);
  own.load(start, p.h0, H);
  own.load(c, p.c0, H);
  const bool masked = p.recurrent_mask != nullptr;
  // As stored.
  unsigned h[2] = {narrowed_pair<T>(start[0], start[2]), narrowed_pair<T>(start[1], start[3])};
  // The lane's first unit in each of its rows: at the step that is fetched next, and at the one written next.
  const T* z_at[2];
  T* y_at[2];
  T* gates_at[2];
  float* cells_at[2];
  const Index gates_step = p.gates != nullptr ? kGates * H : 0;
  const Index cells_step = p.cells != nullptr ? p.batch * H : 0;
  unsigned* write_at[2] = {operands + Rows::row(own.row) + own.unit / 2,
                           operands + Rows::row(own.row + 1) + own.unit / 2};
  const unsigned* read_at = operands + Rows::row(lane_of_warp() / 4) + lane_of_warp() % 4 * 4;
  // Cells that do not exist hand on too: a zero, or into a row that nobody reads.
  const auto hand_on = [&](int j) {
    unsigned factored = h[j];
    if (masked)
      factored = narrowed_pair<T>(factor[j] * first_of<T>(h[j]), factor[2 + j] * second_of<T>(h[j]));
    *write_at[j] = factored;
  };
  Rows::clear(operands);
  __syncthreads();
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    const Index b = own.exists[j] ? own.b + j : 0;
    const Index first = b * p.steps;
    const int unit = own.exists[j] ? own.unit : 0;
    z_at[j] = p.z_x + first * kGates * H + unit;
    y_at[j] = p.y + first * H + unit;
    gates_at[j] = p.gates != nullptr ? p.gates + first * kGates * H + unit : nullptr;
    cells_at[j] = p.cells != nullptr ? p.cells + b * H + unit : nullptr;
    hand_on(j);
    write_at[j] += Rows::size;
    if (p.cells != nullptr && own.exists[j]) own.access.store(cells_at[j], c[j], c[2 + j]);
    cells_at[j] += cells_step;
  }
  unsigned z[kGates][2] = {};
  const auto fetch = [&](int s) {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      if (s < own.length[j]) {
#pragma unroll
        for (int gate = 0; gate < kGates; ++gate) z[gate][j] = own.access.load(z_at[j] + gate * H);
      }
      z_at[j] += kGates * H;
    }
  };
  // A step's results are written to memory while the next one's products are made.
  bool pending[2] = {false, false};
  unsigned gates[kGates][2] = {};
  const auto write = [&] {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      if (!pending[j]) continue;
      own.access.store(y_at[j], h[j]);
      if (p.gates != nullptr) {
#pragma unroll
        for (int gate = 0; gate < kGates; ++gate) own.access.store(gates_at[j] + gate * H, gates[gate][j]);
      }
      if (p.cells != nullptr) own.access.store(cells_at[j], c[j], c[2 + j]);
      y_at[j] += H;
      gates_at[j] += gates_step;
      cells_at[j] += cells_step;
    }
  };
  if (last > 0) fetch(0);
  __syncthreads();

  int other = Rows::size;  // from the operands that are read to those that are written
  for (int s = 0; s < last; ++s) {
    uint4 chunk[chunks];
#pragma unroll
    for (int i = 0; i < chunks; ++i) chunk[i] = Rows::chunk(read_at, i);
    float sums[kGates][4];
#pragma unroll
    for (int gate = 0; gate < kGates; ++gate) {
      begin_sums<T>(sums[gate], z[gate][0], z[gate][1], bias[gate]);
    }
    if (s + 1 < last) fetch(s + 1);
#pragma unroll
    for (int i = 0; i < chunks; ++i) {
#pragma unroll
      for (int gate = 0; gate < kGates; ++gate) multiply_chunk<F>(sums[gate], weights[gate][i], chunk[i]);
      if (i == 0) write();
    }

    // All cells are computed, real or not, so that they have no branches and come at once.
    Stepped<V> now[4];
    float fresh_h[4];
#pragma unroll
    for (int at = 0; at < 4; ++at) {
      const Step<V, Maker> step(maker, own.b + at % 2, own.unit_or_first(at / 2), H);
      now[at] =
          step.forward(gates_of<V>([&](int gate) { return sums[gate][at]; }), V(c[at]), p.first_step + s);
      const auto h_prev = [&] { return V(at < 2 ? first_of<T>(h[at]) : second_of<T>(h[at - 2])); };
      fresh_h[at] = step.hidden(now[at], p.first_step + s, h_prev).v;
    }
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      pending[j] = s < own.length[j];
      const unsigned fresh = narrowed_pair<T>(fresh_h[j], own.access.second(fresh_h[2 + j]));
      h[j] = pending[j] ? fresh : h[j];
      c[j] = pending[j] ? now[j].c.v : c[j];
      c[2 + j] = pending[j] ? now[2 + j].c.v : c[2 + j];
      hand_on(j);
      write_at[j] -= other;
      const Gates<V>& first = now[j].gates;
      const Gates<V>& second = now[2 + j].gates;
      gates[0][j] = narrowed_pair<T>(first.i.v, second.i.v);
      gates[1][j] = narrowed_pair<T>(first.f.v, second.f.v);
      gates[2][j] = narrowed_pair<T>(first.g.v, second.g.v);
      gates[3][j] = narrowed_pair<T>(first.o.v, second.o.v);
    }
    read_at += other;
    other = -other;
    __syncthreads();
  }
  write();

#pragma unroll
  for (int j = 0; j < 2; ++j) {
    if (!own.exists[j]) continue;
    const Index state = (own.b + j) * H + own.unit;
    own.access.store(p.h + state, h[j]);
    own.access.store(p.c + state, c[j], c[2 + j]);
    T* y = p.y + ((own.b + j) * p.steps + own.length[j]) * H + own.unit;
    for (Index s = own.length[j]; s < p.steps; ++s, y += H) own.access.store(y, p.zero_padding ? 0u : h[j]);
  }
}

}  // namespace fusedlstm::cuda
