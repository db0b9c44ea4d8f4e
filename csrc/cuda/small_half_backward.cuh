// The backward kernel of small_half_sequence.h. A warp has the columns of dh of its units, and multiplies the
// gradients of all gates.
#pragma once

#include "small_half.cuh"

namespace fusedlstm::cuda {

// H is at most 32 chunks; `paired` if it is even, and all arrays are aligned to pairs.
template <class F, int chunks, bool paired, class Maker>
__global__ void __launch_bounds__(64 * chunks, 1)
    small_half_backward_kernel(const __grid_constant__ SequenceBackward<typename F::Number> p,
                               const __grid_constant__ Maker maker) {
  using T = typename F::Number;
  using V = CellNumber<T, Maker>;
  using Rows = OperandRows<kGates * 32 * chunks>;
  constexpr int gate_words = 16 * chunks;
  constexpr int threads = 64 * chunks;
  __shared__ __align__(128) unsigned operands[2 * Rows::size];
  // Numbers of a thread's cells that only options need, as registers hold too much else: the gradients of
  // three peepholes, what zoneout of h hands to the step before as it is, and factors.
  __shared__ float more[has_options<Maker> ? 5 : 1][4][threads];
  // With them, of the most weights that there are, those of the last chunk are not in registers either.
  constexpr bool has_rest = has_options<Maker> && chunks == 4;
  __shared__ __align__(16) unsigned rest[has_rest ? 2 : 1][threads][4];
  const int H = static_cast<int>(p.units);
  const int steps = static_cast<int>(p.steps);
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
        const PairAccess<paired> along{k + 1 < H};
        const T* const from = p.recurrent_kernel + own.unit * kGates * H + gate * H + k;
        weights[gate][i][e / 2][e % 2 * 2] = own.has_unit && k < H ? along.load(from) : 0;
        weights[gate][i][e / 2][e % 2 * 2 + 1] = own.access.both && k < H ? along.load(from + kGates * H) : 0;
      }
    }
  }

  if constexpr (has_rest) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const unsigned (&w)[4] = weights[kGates - 1][chunks - 1][e];
      *reinterpret_cast<uint4*>(rest[e][threadIdx.x]) = make_uint4(w[0], w[1], w[2], w[3]);
    }
  }

  float factor[4];
  float dh[4];
  float dc[4];
  own.load(factor, p.recurrent_mask, H, 1.0f);
  own.load(dh, p.dh, H);
  own.load(dc, p.dc, H);
  const ThreadClip<V, Maker> clip(maker);

  // The lane's first unit in each of its rows, at the step that is fetched next.
  T* gates_at[2];
  const T* dy_at[2];
  const float* cells_at[2];
  const Index dy_step = p.dy != nullptr ? H : 0;
  const Index cells_step = p.batch * H;
  unsigned* write_at[2];
  const unsigned* read_at = operands + Rows::row(lane_of_warp() / 4) + lane_of_warp() % 4 * 4;
  float c[4];
  Rows::clear(operands);
  __syncthreads();
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    const Index b = own.exists[j] ? own.b + j : 0;
    const int unit = own.exists[j] ? own.unit : 0;
    // Beyond a row's length y repeats its last hidden state.
    for (int s = steps - 1; own.exists[j] && s >= own.length[j]; --s) {
      const Index at = b * p.steps + s;
      if (p.dy != nullptr && !p.zero_padding) {
        const unsigned repeated = own.access.load(p.dy + at * H + unit);
        dh[j] += first_of<T>(repeated);
        dh[2 + j] += second_of<T>(repeated);
      }
#pragma unroll
      for (int gate = 0; gate < kGates; ++gate)
        own.access.store(p.gates + (at * kGates + gate) * H + unit, 0u);
    }
    const Index at = b * p.steps + (last > 0 ? last - 1 : 0);
    gates_at[j] = p.gates + at * kGates * H + unit;
    dy_at[j] = p.dy != nullptr ? p.dy + at * H + unit : nullptr;
    cells_at[j] = p.cells + last * cells_step + b * H + unit;
    write_at[j] = operands + Rows::row(own.row + j) + own.unit / 2;
    const float2 pair = own.length[j] == last ? own.access.load(cells_at[j]) : make_float2(0.0f, 0.0f);
    c[j] = pair.x;
    c[2 + j] = pair.y;
  }
  [[maybe_unused]] const auto slot = [&](int i, int at) -> float& { return more[i][at][threadIdx.x]; };
  if constexpr (has_options<Maker>) {
#pragma unroll
    for (int at = 0; at < 4; ++at) {
#pragma unroll
      for (int i = 0; i < 4; ++i) slot(i, at) = 0;
      slot(4, at) = factor[at];
    }
  }
  unsigned gates[kGates][2] = {};
  unsigned dy[2] = {};
  float2 c_before[2] = {};
  const auto fetch = [&](int s) {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      cells_at[j] -= cells_step;
      // A step's c is also what the one after it began with.
      if (s <= own.length[j]) c_before[j] = own.access.load(cells_at[j]);
      if (s < own.length[j]) {
#pragma unroll
        for (int gate = 0; gate < kGates; ++gate) gates[gate][j] = own.access.load(gates_at[j] + gate * H);
        if (p.dy != nullptr) dy[j] = own.access.load(dy_at[j]);
      }
      gates_at[j] -= kGates * H;
      dy_at[j] -= dy_step;
    }
  };
  if (last > 0) fetch(last - 1);

  int other = Rows::size;  // from the operands of this step to those of the one before it
  for (int s = last - 1; s >= 0; --s) {
    // All cells are computed, real or not, so that they have no branches and come at once.
    float dz[kGates][4];
    float fresh_dc[4];
#pragma unroll
    for (int at = 0; at < 4; ++at) {
      const int j = at % 2;
      const bool first = at < 2;
      const auto part = [&](unsigned bits) { return first ? first_of<T>(bits) : second_of<T>(bits); };
      const V c_prev(first ? c_before[j].x : c_before[j].y);
      const Step<V, Maker> step(maker, clip, own.b + j, own.unit_or_first(at / 2), H);
      const SteppedBack<V> d =
          step.backward(gates_of<V>([&](int gate) { return part(gates[gate][j]); }), c_prev, V(c[at]),
                        V(dh[at] + part(dy[j])), V(dc[at]), p.first_step + s);
      for_each_gate(d.z, [&](int gate, float value) { dz[gate][at] = value; });
      fresh_dc[at] = d.c_prev.v;
      if constexpr (has_options<Maker>) {
        if (step.keeps(ZonedState::h)) slot(3, at) = d.to_h_prev.v;
        if (p.dpeepholes != nullptr && s < own.length[j]) {
          add_peepholes(d.z, c_prev, d.made, [&](int i) -> float& { return slot(i, at); });
        }
      }
    }
    // In a row that is not real yet, nobody takes what the products make of it.
    unsigned stored[kGates][2];
    T* const to[2] = {gates_at[0] + kGates * H, gates_at[1] + kGates * H};
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const bool real = s < own.length[j];
#pragma unroll
      for (int gate = 0; gate < kGates; ++gate) {
        stored[gate][j] = narrowed_pair<T>(dz[gate][j], own.access.second(dz[gate][2 + j]));
        write_at[j][gate * gate_words] = stored[gate][j];
      }
      write_at[j] += other;
      dc[j] = real ? fresh_dc[j] : dc[j];
      dc[2 + j] = real ? fresh_dc[2 + j] : dc[2 + j];
      c[j] = c_before[j].x;
      c[2 + j] = c_before[j].y;
    }
    __syncthreads();

    // A sum for each gate, so that no product waits for the one before it. Writes and fetches go their way
    // meanwhile.
    float sums[kGates][4] = {};
#pragma unroll
    for (int i = 0; i < chunks; ++i) {
      uint4 chunk[kGates];
#pragma unroll
      for (int gate = 0; gate < kGates; ++gate) chunk[gate] = Rows::chunk(read_at, gate * chunks + i);
      if (i + 1 == chunks && s > 0) fetch(s - 1);
#pragma unroll
      for (int gate = 0; gate < kGates; ++gate) {
        if (has_rest && i + 1 == chunks && gate + 1 == kGates) {
          const uint4 a = *reinterpret_cast<const uint4*>(rest[0][threadIdx.x]);
          const uint4 b = *reinterpret_cast<const uint4*>(rest[1][threadIdx.x]);
          multiply_chunk<F>(sums[gate], {{a.x, a.y, a.z, a.w}, {b.x, b.y, b.z, b.w}}, chunk[gate]);
        } else {
          multiply_chunk<F>(sums[gate], weights[gate][i], chunk[gate]);
        }
      }
      if (i > 0) continue;
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        if (s >= own.length[j]) continue;
#pragma unroll
        for (int gate = 0; gate < kGates; ++gate) own.access.store(to[j] + gate * H, stored[gate][j]);
      }
    }
    read_at += other;
    other = -other;
    // Beyond its length a row hands on what it was given.
#pragma unroll
    for (int at = 0; at < 4; ++at) {
      if (s < own.length[at % 2]) {
        const float sum = (sums[0][at] + sums[1][at]) + (sums[2][at] + sums[3][at]);
        if constexpr (has_options<Maker>) {
          dh[at] = ::fma(slot(4, at), sum, slot(3, at));
        } else {
          dh[at] = factor[at] * sum;
        }
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
        own.access.store(to, slot(i, j), slot(i, 2 + j));
      }
    }
  }
}

}  // namespace fusedlstm::cuda
