#include <algorithm>
#include <type_traits>

#include "pack.cuh"
#include "small_sequence.h"
#include "step.cuh"
#include "storage.cuh"

namespace fusedlstm::cuda {
namespace {

// A thread for each gate column, with a sum of H products for each row of the block: forward, it owns a
// column of the recurrent kernel, and backward, one gate's quarter of a row of it. Of those H weights the
// first `registers` are in registers and the rest in shared memory. Options want registers too.
template <class T, bool options = false>
struct SmallTraits {
  static constexpr int rows = 2;
  static constexpr int most_threads = kGates * static_cast<int>(most_small_units);
  static constexpr int few_registers = sizeof(T) == sizeof(float) ? 32 : 16;
  static constexpr int registers = sizeof(T) == sizeof(float) ? (options ? 56 : 84) : (options ? 16 : 38);
  static_assert(rows <= kGates, "a row's units are threads of their own, after the product");
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
        weights(std::max(units - registers, 0) * kGates * units),
        total(weights + SmallTraits<T>::rows * (kGates * pitch + kGates * units)) {}
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
    const int columns = kGates * units;
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
    for (int n = registers; n < units_; ++n, w += kGates * units_) {
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
  T* const hidden = rest + rest_size;           // (rows, pitch)
  T* const z = hidden + rows * kGates * pitch;  // (rows, 4H)
  // (4H), each thread's own: a register would be one too many. Only backward has operands there.
  T* const bias = hidden + rows * pitch;
  static_assert(3 * rows >= kGates);
  if (t < kGates * H) bias[t] = bias_of(p, t);
  const Weights<T, registers> weights(H, rest, [&](int n) { return p.recurrent_kernel[n * kGates * H + t]; });
  const int steps = static_cast<int>(p.steps);
  const Own own(p.batch, steps, H, p.lengths, rows);
  const auto state = [&] {
    return own.b * p.units + own.unit;
  };  // made anew each time, for want of registers
  const Step<V, Maker> step(maker, own.b, own.unit, H);

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
    if (t < kGates * H) {
      // On its way to where the sums are added to it, while they are made: that takes no registers.
#pragma unroll
      for (int r = 0; r < rows; ++r) {
        const Index b = static_cast<Index>(blockIdx.x) * rows + r;
        const bool there = b < p.batch;
        const T* from = there ? p.z_x + (b * p.steps + s) * kGates * H + t : p.z_x;
        copy_async<sizeof(T)>(z + r * kGates * H + t, from, there ? sizeof(T) : 0);
      }
      copy_async_commit();
      T sums[rows]{};
      weights.multiply(hidden, pitch, sums);
      copy_async_wait<0>();
#pragma unroll
      for (int r = 0; r < rows; ++r) z[r * kGates * H + t] = z[r * kGates * H + t] + bias[t] + sums[r];
    }
    __syncthreads();
    if (own.exists) {
      if (s < own.length) {
        const T* zr = z + own.row * kGates * H + own.unit;
        const Stepped<V> now =
            step.forward(gates_of<V>([&](int gate) { return zr[gate * H]; }), V(c), p.first_step + s);
        c = now.c.v;
        h = step.hidden(now, p.first_step + s, [&] { return V(h); }).v;
        *operand = factor * h;
        if (p.gates != nullptr) {
          T* gates = p.gates + (own.b * p.steps + s) * kGates * H + own.unit;
          for_each_gate(now.gates, [&](int gate, T value) { gates[gate * H] = value; });
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
  constexpr int rows = SmallTraits<T>::rows;
  const int H = static_cast<int>(p.units);
  const int t = static_cast<int>(threadIdx.x);
  const int quarter = t / H;  // a gate
  const int k = t - quarter * H;
  T* const rest = dynamic_shared<T>();
  T* const dz = rest + rest_size;              // (rows, 4, pitch)
  T* const sums = dz + rows * kGates * pitch;  // (rows, 4, H): each gate's part of dh
  const Weights<T, registers> weights(
      H, rest, [&](int n) { return p.recurrent_kernel[k * kGates * H + quarter * H + n]; });
  const int steps = static_cast<int>(p.steps);
  const Own own(p.batch, steps, H, p.lengths, rows);
  const Index state = own.b * p.units + own.unit;
  const ThreadClip<V, Maker> clip(maker);
  const Step<V, Maker> step(maker, clip, own.b, own.unit, H);

  fill_with_zeros(dz, rows * kGates * pitch);
  __syncthreads();
  T factor(1);
  T dh{};
  T dc{};
  [[maybe_unused]] T peepholes[3] = {};
  if (own.exists) {
    if (p.recurrent_mask != nullptr) factor = p.recurrent_mask[state];
    dh = value_or_zero(p.dh, state);
    dc = value_or_zero(p.dc, state);
  }
  for (int s = steps - 1; s >= 0; --s) {
    const bool real = own.exists && s < own.length;
    T kept(0);  // what zoneout of h hands to the step before as it is
    if (own.exists) {
      const Index at = own.b * p.steps + s;
      T* const gates = p.gates + at * kGates * H + own.unit;
      if (p.dy != nullptr && (real || !p.zero_padding)) dh += p.dy[at * H + own.unit];
      Gates<V> d{V(0), V(0), V(0), V(0)};
      if (real) {
        const V c_prev(p.cells[s * p.batch * H + state]);
        const V c(p.cells[(s + 1) * p.batch * H + state]);
        const SteppedBack<V> back = step.backward(gates_of<V>([&](int gate) { return gates[gate * H]; }),
                                                  c_prev, c, V(dh), V(dc), p.first_step + s);
        d = back.z;
        dc = back.c_prev.v;
        kept = back.to_h_prev.v;
        if constexpr (has_options<Maker>) {
          add_peepholes(d, c_prev, back.made, [&](int i) -> T& { return peepholes[i]; });
        }
        T* const shared = dz + own.row * kGates * pitch + own.unit;
        for_each_gate(d, [&](int gate, T value) { shared[gate * pitch] = value; });
      }
      for_each_gate(d, [&](int gate, T value) { gates[gate * H] = value; });
    }
    __syncthreads();
    if (t < kGates * H) {
      T parts[rows]{};
      weights.multiply(dz + quarter * pitch, kGates * pitch, parts);
#pragma unroll
      for (int r = 0; r < rows; ++r) sums[r * kGates * H + t] = parts[r];
    }
    __syncthreads();
    // Beyond its length a row hands on what it was given.
    if (real) {
      const T* part = sums + own.row * kGates * H + own.unit;
      dh = factor * ((part[0] + part[H]) + (part[2 * H] + part[3 * H]));
      if (step.keeps(ZonedState::h)) dh += kept;
    }
  }
  if (own.exists) {
    p.dh0[state] = dh;
    p.dc0[state] = dc;
    if (has_options<Maker> && p.dpeepholes != nullptr) {
      for (int i = 0; i < 3; ++i)
        p.dpeepholes[(3 * static_cast<Index>(own.b) + i) * H + own.unit] = peepholes[i];
    }
  }
}

// Launches few or many, the same kernel with either number of registers.
template <class T, class Problem, class Maker>
void launch_small(const char* name, const Problem& p, const Maker& maker, cudaStream_t stream,
                  void (*few)(Problem, int, int, Maker), void (*many)(Problem, int, int, Maker)) {
  constexpr bool options = has_options<Maker>;
  using Traits = SmallTraits<T, options>;
  check_small(p.batch, p.units, p.steps);
  if (p.batch == 0 || p.units == 0) return;
  const int registers = registers_for<T, options>(p.units);
  const SmallShared<T> shared(static_cast<int>(p.units), registers);
  const auto blocks = static_cast<unsigned>((p.batch + Traits::rows - 1) / Traits::rows);
  const auto threads = static_cast<unsigned>((kGates * p.units + 31) / 32 * 32);
  launch({name, blocks, threads, shared.bytes(), stream}, registers == Traits::registers ? many : few, p,
         shared.pitch, shared.weights, maker);
}

}  // namespace

template <class T>
std::size_t small_shared_bytes(Index units, bool options) {
  const int registers = options ? registers_for<T, true>(units) : registers_for<T, false>(units);
  return SmallShared<T>(static_cast<int>(units), registers).bytes();
}

template <class T>
void small_forward(const SequenceForward<T>& p, const CellOptions<T>* options, cudaStream_t stream) {
  with_maker(options, [&]<class Maker>(const Maker& maker) {
    using Traits = SmallTraits<T, has_options<Maker>>;
    launch_small<T>("small_forward", p, maker, stream, &small_forward_kernel<T, Traits::few_registers, Maker>,
                    &small_forward_kernel<T, Traits::registers, Maker>);
  });
}

template <class T>
void small_backward(const SequenceBackward<T>& p, const CellOptions<T>* options, cudaStream_t stream) {
  with_maker(options, [&]<class Maker>(const Maker& maker) {
    using Traits = SmallTraits<T, has_options<Maker>>;
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
