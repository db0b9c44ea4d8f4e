#include <algorithm>
#include <type_traits>

#include "../math/cell.h"
#include "cell_maker.cuh"
#include "number.cuh"
#include "pack.cuh"
#include "small_sequence.h"
#include "storage.cuh"
#include "zoneout.cuh"

namespace fusedlstm::cuda {
namespace {

// A thread for each gate column, with a sum of H products for each row of the block: forward, it owns a
// column of the recurrent kernel, and backward, one gate's quarter of a row of it. Of those H weights the
// first `registers` are in registers and the rest in shared memory. Options want registers too.
template <class T, bool options = false>
struct SmallTraits {
  static constexpr int rows = 2;
  static constexpr int most_threads = 4 * static_cast<int>(most_small_units);
  static constexpr int few_registers = sizeof(T) == sizeof(float) ? 32 : 16;
  static constexpr int registers = sizeof(T) == sizeof(float) ? (options ? 56 : 84) : (options ? 16 : 38);
  static_assert(rows <= 4, "a row's units are threads of their own, after the product");
  static_assert(most_threads % 32 == 0 && most_threads <= 1024);
  static_assert(registers * sizeof(T) / 4 + 32 <= 65536 / most_threads, "32 are for the rest");
  // In float32 the rest of a plain cell fits a block of 99 KiB, the fewest that devices from sm_80 on have.
  static constexpr int most_units = static_cast<int>(most_small_units);
  static_assert(sizeof(T) > 4 || options ||
                (most_units - registers + 2 * rows) * most_units * 16 <= 99 * 1024);
  static_assert(few_registers % widest<T> == 0 && registers % widest<T> == 0);
};

// Shared memory of a block, in numbers. They are few enough for int, which leaves registers to weights.
template <class T>
struct SmallShared {
  int pitch;    // of a vector of H operands, filled up with zeros to whole packs and all registers
  int weights;  // (H - registers, 4H)
  int total;

  SmallShared(int units, int registers)
      : pitch(std::max((units + widest<T> - 1) / widest<T> * widest<T>, registers)),
        weights(std::max(units - registers, 0) * 4 * units),
        total(weights + SmallTraits<T>::rows * (4 * pitch + 4 * units)) {}
  std::size_t bytes() const { return static_cast<std::size_t>(total) * sizeof(T); }
};

template <class T, bool options>
int registers_for(Index units) {
  using Traits = SmallTraits<T, options>;
  return units <= Traits::few_registers ? Traits::few_registers : Traits::registers;
}

// A thread's weights, w(n) for n < H. Operands lie in shared memory, zero from H to the pitch.
template <class T, int registers>
class Weights {
 public:
  template <class W>
  __device__ __forceinline__ Weights(int units, T* rest, const W& w) : units_(units), rest_(rest) {
    const int columns = 4 * units;
    const int t = static_cast<int>(threadIdx.x);
    const bool own = t < columns;
#pragma unroll
    for (int n = 0; n < registers; ++n) first_[n] = own && n < units ? w(n) : T(0);
    for (int n = registers; own && n < units; ++n) rest_[(n - registers) * columns + t] = w(n);
  }

  // In the order of n, whatever the number of rows.
  template <int rows>
  __device__ __forceinline__ void multiply(const T* operands, int row, T (&sums)[rows]) const {
    constexpr int width = widest<T>;
#pragma unroll
    for (int n = 0; n < registers; n += width) {
#pragma unroll
      for (int r = 0; r < rows; ++r) {
        const auto x = Pack<T, width>::load(operands + r * row + n);
#pragma unroll
        for (int k = 0; k < width; ++k) sums[r] = ::fma(x.v[k], first_[n + k], sums[r]);
      }
    }
    const T* w = rest_ + threadIdx.x;
    for (int n = registers; n < units_; ++n, w += 4 * units_) {
#pragma unroll
      for (int r = 0; r < rows; ++r) sums[r] = ::fma(operands[r * row + n], *w, sums[r]);
    }
  }

 private:
  int units_;
  T* rest_;
  T first_[registers];
};

// The row and unit that a thread has a cell of, between products.
struct Own {
  int row;  // in the block
  int unit;
  int b;  // in the batch
  int length;
  bool exists;

  __device__ __forceinline__ Own(Index batch, int steps, int units, const Index* lengths, int rows)
      : row(static_cast<int>(threadIdx.x) / units),
        unit(static_cast<int>(threadIdx.x) - row * units),
        b(static_cast<int>(blockIdx.x) * rows + row),
        length(0),
        exists(row < rows && b < batch) {
    if (exists) length = lengths == nullptr ? steps : static_cast<int>(lengths[b]);
  }
};

template <class T>
__device__ __forceinline__ T value_or_zero(const T* array, Index at) {
  return array == nullptr ? T(0) : array[at];
}

template <class T>
__device__ __forceinline__ void fill_with_zeros(T* shared, int size) {
  for (int i = static_cast<int>(threadIdx.x); i < size; i += static_cast<int>(blockDim.x)) shared[i] = T(0);
}

template <class T, int registers, class Maker>
__global__ void __launch_bounds__(SmallTraits<T>::most_threads, 1)
    small_forward_kernel(const SequenceForward<T> p, const int pitch, const int rest_size,
                         const __grid_constant__ Maker maker) {
  using V = Number<T>;
  constexpr int rows = SmallTraits<T>::rows;
  const int H = static_cast<int>(p.units);
  const int t = static_cast<int>(threadIdx.x);
  T* const rest = dynamic_shared<T>();
  T* const hidden = rest + rest_size;      // (rows, pitch)
  T* const z = hidden + rows * 4 * pitch;  // (rows, 4H)
  // (4H), each thread's own: a register would be one too many. Only backward has operands there.
  T* const bias = hidden + rows * pitch;
  static_assert(3 * rows >= 4);
  if (t < 4 * H) bias[t] = bias_of(p, t);
  const Weights<T, registers> weights(H, rest, [&](int n) { return p.recurrent_kernel[n * 4 * H + t]; });
  const int steps = static_cast<int>(p.steps);
  const Own own(p.batch, steps, H, p.lengths, rows);
  const auto state = [&] {
    return own.b * p.units + own.unit;
  };  // made anew each time, for want of registers
  const auto cell = maker.cell(own.unit, H);
  const UnitZoneout<T, Maker> zoneout(maker, own.b, own.unit);

  fill_with_zeros(hidden, rows * pitch);
  __syncthreads();
  T* const operand = hidden + own.row * pitch + own.unit;  // only where own.exists
  T factor(1);                                             // of h there
  T h{};
  T c{};
  if (own.exists) {
    if (p.recurrent_mask != nullptr) factor = p.recurrent_mask[state()];
    h = value_or_zero(p.h0, state());
    c = value_or_zero(p.c0, state());
    *operand = factor * h;
    if (p.cells != nullptr) p.cells[state()] = c;
  }
  __syncthreads();
  for (int s = 0; s < steps; ++s) {
    if (t < 4 * H) {
      // On its way to where the sums are added to it, while they are made: that takes no registers.
#pragma unroll
      for (int r = 0; r < rows; ++r) {
        const Index b = static_cast<Index>(blockIdx.x) * rows + r;
        const bool there = b < p.batch;
        const T* from = there ? p.z_x + (b * p.steps + s) * 4 * H + t : p.z_x;
        copy_async<sizeof(T)>(z + r * 4 * H + t, from, there ? sizeof(T) : 0);
      }
      copy_async_commit();
      T sums[rows]{};
      weights.multiply(hidden, pitch, sums);
      copy_async_wait<0>();
#pragma unroll
      for (int r = 0; r < rows; ++r) z[r * 4 * H + t] = z[r * 4 * H + t] + bias[t] + sums[r];
    }
    __syncthreads();
    if (own.exists) {
      if (s < own.length) {
        const T* zr = z + own.row * 4 * H + own.unit;
        const CellValues<V> values =
            cell_forward(cell, Gates<V>{V(zr[0]), V(zr[H]), V(zr[2 * H]), V(zr[3 * H])}, V(c));
        const V fresh_h = hidden_state(cell, values.gates.o, values.c);
        c = zoneout.keeps(ZonedState::c) ? zoneout.at(ZonedState::c, p.first_step + s).mixed(V(c), values.c).v
                                         : values.c.v;
        h = zoneout.keeps(ZonedState::h) ? zoneout.at(ZonedState::h, p.first_step + s).mixed(V(h), fresh_h).v
                                         : fresh_h.v;
        *operand = factor * h;
        if (p.gates != nullptr) {
          T* gates = p.gates + (own.b * p.steps + s) * 4 * H + own.unit;
          gates[0] = values.gates.i.v;
          gates[H] = values.gates.f.v;
          gates[2 * H] = values.gates.g.v;
          gates[3 * H] = values.gates.o.v;
        }
      }
      p.y[(own.b * p.steps + s) * H + own.unit] = p.zero_padding && s >= own.length ? T(0) : h;
      if (p.cells != nullptr) p.cells[(s + 1) * p.batch * H + state()] = c;
    }
    __syncthreads();
  }
  if (own.exists) {
    p.h[state()] = h;
    p.c[state()] = c;
  }
}

template <class T, int registers, class Maker>
__global__ void __launch_bounds__(SmallTraits<T>::most_threads, 1)
    small_backward_kernel(const SequenceBackward<T> p, const int pitch, const int rest_size,
                          const __grid_constant__ Maker maker) {
  using V = Number<T>;
  constexpr bool has_options = !std::is_same_v<Maker, Plain>;
  constexpr int rows = SmallTraits<T>::rows;
  const int H = static_cast<int>(p.units);
  const int t = static_cast<int>(threadIdx.x);
  const int gate = t / H;
  const int k = t - gate * H;
  T* const rest = dynamic_shared<T>();
  T* const dz = rest + rest_size;         // (rows, 4, pitch)
  T* const sums = dz + rows * 4 * pitch;  // (rows, 4, H): each gate's part of dh
  const Weights<T, registers> weights(H, rest,
                                      [&](int n) { return p.recurrent_kernel[k * 4 * H + gate * H + n]; });
  const int steps = static_cast<int>(p.steps);
  const Own own(p.batch, steps, H, p.lengths, rows);
  const Index state = own.b * p.units + own.unit;
  const ThreadClip<T, Maker> clip(maker);
  auto cell = maker.cell(own.unit, H);
  clip.give(cell);
  const UnitZoneout<T, Maker> zoneout(maker, own.b, own.unit);

  fill_with_zeros(dz, rows * 4 * pitch);
  __syncthreads();
  T factor(1);
  T dh{};
  T dc{};
  [[maybe_unused]] V peepholes[3] = {V(0), V(0), V(0)};
  if (own.exists) {
    if (p.recurrent_mask != nullptr) factor = p.recurrent_mask[state];
    dh = value_or_zero(p.dh, state);
    dc = value_or_zero(p.dc, state);
  }
  for (int s = steps - 1; s >= 0; --s) {
    const bool real = own.exists && s < own.length;
    V kept(0);  // what zoneout of h hands to the step before as it is
    if (own.exists) {
      const Index at = own.b * p.steps + s;
      T* const gates = p.gates + at * 4 * H + own.unit;
      if (p.dy != nullptr && (real || !p.zero_padding)) dh += p.dy[at * H + own.unit];
      Gates<V> d{V(0), V(0), V(0), V(0)};
      if (real) {
        const Gates<V> activated{V(gates[0]), V(gates[H]), V(gates[2 * H]), V(gates[3 * H])};
        const V c_prev(p.cells[s * p.batch * H + state]);
        V c(p.cells[(s + 1) * p.batch * H + state]);
        V to_h(dh);
        V to_c(dc);
        V kept_c(0);
        if (zoneout.keeps(ZonedState::h)) {
          const KeptShare<V> share = zoneout.at(ZonedState::h, p.first_step + s);
          kept = share.to_previous(to_h);
          to_h = share.to_fresh(to_h);
        }
        if (zoneout.keeps(ZonedState::c)) {
          const KeptShare<V> share = zoneout.at(ZonedState::c, p.first_step + s);
          kept_c = share.to_previous(to_c);
          to_c = share.to_fresh(to_c);
          c = new_cell(cell, activated.i, activated.f, activated.g, c_prev);
        }
        const CellGradients<V> all = cell_backward(cell, activated, c_prev, c, cell.output(c), to_h, to_c);
        d = all.z;
        dc = zoneout.keeps(ZonedState::c) ? (all.c_prev + kept_c).v : all.c_prev.v;
        if constexpr (has_options) {
          peepholes[0] = fma(d.i, c_prev, peepholes[0]);
          peepholes[1] = fma(d.f, c_prev, peepholes[1]);
          peepholes[2] = fma(d.o, c, peepholes[2]);
        }
        T* const shared = dz + own.row * 4 * pitch + own.unit;
        shared[0] = d.i.v;
        shared[pitch] = d.f.v;
        shared[2 * pitch] = d.g.v;
        shared[3 * pitch] = d.o.v;
      }
      gates[0] = d.i.v;
      gates[H] = d.f.v;
      gates[2 * H] = d.g.v;
      gates[3 * H] = d.o.v;
    }
    __syncthreads();
    if (t < 4 * H) {
      T parts[rows]{};
      weights.multiply(dz + gate * pitch, 4 * pitch, parts);
#pragma unroll
      for (int r = 0; r < rows; ++r) sums[r * 4 * H + t] = parts[r];
    }
    __syncthreads();
    // Beyond its length a row hands on what it was given.
    if (real) {
      const T* part = sums + own.row * 4 * H + own.unit;
      dh = factor * ((part[0] + part[H]) + (part[2 * H] + part[3 * H]));
      if (zoneout.keeps(ZonedState::h)) dh += kept.v;
    }
  }
  if (own.exists) {
    p.dh0[state] = dh;
    p.dc0[state] = dc;
    if (has_options && p.dpeepholes != nullptr) {
      for (int i = 0; i < 3; ++i)
        p.dpeepholes[(3 * static_cast<Index>(own.b) + i) * H + own.unit] = peepholes[i].v;
    }
  }
}

// Launches few or many, the same kernel with either number of registers.
template <class T, class Problem, class Maker>
void launch_small(const char* name, const Problem& p, const Maker& maker, cudaStream_t stream,
                  void (*few)(Problem, int, int, Maker), void (*many)(Problem, int, int, Maker)) {
  constexpr bool options = !std::is_same_v<Maker, Plain>;
  using Traits = SmallTraits<T, options>;
  check_small(p.batch, p.units, p.steps);
  if (p.batch == 0 || p.units == 0) return;
  const int registers = registers_for<T, options>(p.units);
  const SmallShared<T> shared(static_cast<int>(p.units), registers);
  const auto blocks = static_cast<unsigned>((p.batch + Traits::rows - 1) / Traits::rows);
  const auto threads = static_cast<unsigned>((4 * p.units + 31) / 32 * 32);
  launch({name, blocks, threads, shared.bytes(), stream}, registers == Traits::registers ? many : few, p,
         shared.pitch, shared.weights, maker);
}

// Calls run(maker, traits) with what the options ask for.
template <class T, class Run>
void with_maker(const CellOptions<T>* options, const Run& run) {
  if (options != nullptr) {
    run(WithOptions<T>{*options}, SmallTraits<T, true>{});
  } else {
    run(Plain{}, SmallTraits<T>{});
  }
}

}  // namespace

template <class T>
std::size_t small_shared_bytes(Index units, bool options) {
  const int registers = options ? registers_for<T, true>(units) : registers_for<T, false>(units);
  return SmallShared<T>(static_cast<int>(units), registers).bytes();
}

template <class T>
void small_forward(const SequenceForward<T>& p, const CellOptions<T>* options, cudaStream_t stream) {
  with_maker(options, [&]<class Maker, class Traits>(const Maker& maker, Traits) {
    launch_small<T>("small_forward", p, maker, stream, &small_forward_kernel<T, Traits::few_registers, Maker>,
                    &small_forward_kernel<T, Traits::registers, Maker>);
  });
}

template <class T>
void small_backward(const SequenceBackward<T>& p, const CellOptions<T>* options, cudaStream_t stream) {
  with_maker(options, [&]<class Maker, class Traits>(const Maker& maker, Traits) {
    launch_small<T>("small_backward", p, maker, stream,
                    &small_backward_kernel<T, Traits::few_registers, Maker>,
                    &small_backward_kernel<T, Traits::registers, Maker>);
  });
}

template std::size_t small_shared_bytes<float>(Index, bool);
template std::size_t small_shared_bytes<double>(Index, bool);
template void small_forward(const SequenceForward<float>&, const CellOptions<float>*, cudaStream_t);
template void small_forward(const SequenceForward<double>&, const CellOptions<double>*, cudaStream_t);
template void small_backward(const SequenceBackward<float>&, const CellOptions<float>*, cudaStream_t);
template void small_backward(const SequenceBackward<double>&, const CellOptions<double>*, cudaStream_t);

}  // namespace fusedlstm::cuda
