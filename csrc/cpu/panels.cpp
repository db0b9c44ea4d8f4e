#include "panels.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "interrupt.h"
#include "parallel.h"
#include "plan.h"

namespace fusedlstm {
namespace {

template <class T>
void check_finite(const char* name, const T* matrix, Index stride, Index rows, Index columns) {
  for (Index i = 0; i < rows && !Interruptible::leave(columns); ++i) {
    const T* row = matrix + i * stride;
    if (std::all_of(row, row + columns, [](T value) { return std::isfinite(value); })) continue;
    throw std::invalid_argument(std::string(name) +
                                ": expected finite numbers, to be kept as int8, got NaN or infinity");
  }
}

// Longer sums of products might not fit 32 bits.
void check_bytes(Index longest) {
  constexpr Index most = Index{1} << 17;
  if (longest <= most) return;
  throw std::invalid_argument("compute: expected at most " + std::to_string(most) +
                              " inputs, units and outputs with 'int8', got " + std::to_string(longest));
}

}  // namespace

template <class T>
LstmPanels<T>::LstmPanels(Index inputs, Index units, Index outputs, const Source& source, Storage storage,
                          const KernelSet& set)
    : set_(&set),
      inputs_(inputs),
      units_(units),
      outputs_(outputs),
      projects_(source.projection != nullptr),
      storage_(storage) {
  if (storage == Storage::bytes) check_bytes(std::max({inputs, outputs, projects_ ? units : 0}));
  const bool scaled = storage == Storage::int8 || storage == Storage::bytes;
  if (scaled) {
    if (projects_) check_finite("projection", source.projection, source.projection_stride, units, outputs);
    check_finite("recurrent_kernel", source.recurrent_kernel, source.recurrent_stride, outputs,
                 kGates * units);
    check_finite("kernel", source.kernel, source.kernel_stride, inputs, kGates * units);
  }
  const Range all{0, gate_panels()};
  const Index row = gate_panels() * columns();
  const Index projection_row = projection_panels() * columns();
  const Index input_size = row * inputs;
  const Index gate_size = row * (inputs + outputs);
  const Index size = gate_size + projection_row * units;
  Buffer<T> full(size);
  // The rows of both kernels are those of one matrix.
  parallel_panels(all.end, inputs + outputs, columns(), [&](Index panel, Range rows) {
    const Range of_kernel{std::min(rows.begin, inputs), std::min(rows.end, inputs)};
    kernels().pack_gates(source.kernel, source.kernel_stride, inputs, units, panel, of_kernel, full.data());
    kernels().pack_gates(source.recurrent_kernel, source.recurrent_stride, outputs, units, panel,
                         {std::max(rows.begin, inputs) - inputs, std::max(rows.end, inputs) - inputs},
                         full.data() + input_size);
  });
  if (projects_) {
    parallel_panels(projection_panels(), units, columns(), [&](Index panel, Range rows) {
      kernels().pack_matrix(source.projection, source.projection_stride, 1, units, outputs, panel, rows,
                            full.data() + gate_size);
    });
  }
  columns_ = Buffer<T>(scaled ? 3 * row + projection_row : row);
  if (source.bias != nullptr) {
    for (Index panel = 0; panel < all.end; ++panel) {
      kernels().pack_gates(source.bias, 0, 1, units, panel, {0, 1}, columns_.data());
    }
  } else {
    std::fill_n(columns_.data(), row, T(0));
  }
  switch (storage) {
    case Storage::full:
      weights_ = std::move(full).template as<char>();
      break;
    case Storage::bfloat16: {
      Buffer<BFloat16> narrow(size);
      parallel(size / columns(), elementwise_grain / columns(), [&](Range rows) {
        const Index first = rows.begin * columns();
        kernels().round_to_bfloat16(full.data() + first, rows.size(), narrow.data() + first);
      });
      weights_ = std::move(narrow).template as<char>();
      break;
    }
    case Storage::int8:
      round_panels<std::int8_t>(full.data(), kernels().round_to_int8);
      break;
    case Storage::operands:
      if constexpr (sizeof(T) == sizeof(float)) {
        const auto round = products().kernels.round;
        round_panels<BFloat16Operand>(
            full.data(), [&](const T* panels_of, Index K, Range range, BFloat16Operand* out, T*) {
              round(panels_of, K, range, out);
            });
      }
      break;
    case Storage::bytes:
      if constexpr (sizeof(T) == sizeof(float)) {
        round_panels<Int8Operand>(full.data(), byte_products().kernels.round);
      }
      break;
  }
}

// Keeps full panels in fewer bits: round(panels, K, range, out, scale), whose scales are where int8's are.
template <class T>
template <class W, class Round>
void LstmPanels<T>::round_panels(const T* full, const Round& round) {
  const Index row = gate_panels() * columns();
  const Index projection_row = projection_panels() * columns();
  const Index input_end = row * panel_rows<W>(inputs_);
  const Index gate_end = input_end + row * panel_rows<W>(outputs_);
  Buffer<W> narrow(gate_end + (projects_ ? projection_row * panel_rows<W>(units_) : 0));
  const auto keep = [&](Index panels, const T* source, Index K, W* out, T* scale) {
    parallel(panels, elementwise_grain / (columns() * std::max<Index>(K, 1)) + 1,
             [&](Range range) { round(source, K, range, out, scale); });
  };
  T* scales = columns_.data() + row;
  keep(gate_panels(), full, inputs_, narrow.data(), scales);
  keep(gate_panels(), full + row * inputs_, outputs_, narrow.data() + input_end, scales + row);
  keep(projection_panels(), full + row * (inputs_ + outputs_), units_, narrow.data() + gate_end,
       scales + 2 * row);
  weights_ = std::move(narrow).template as<char>();
}

template <class T>
LstmPanels<T>::~LstmPanels() {
  if (char* transposed = transposed_.load(); transposed != nullptr) give_memory(transposed);
}

template <class T>
template <class W>
GatePanels<T, W> LstmPanels<T>::view() const {
  const Index row = gate_panels() * columns();
  const W* weights = reinterpret_cast<const W*>(weights_.data());
  const W* recurrent = weights + row * panel_rows<W>(inputs_);
  const W* projection = projects_ ? recurrent + row * panel_rows<W>(outputs_) : nullptr;
  const T* per_column = columns_.data();
  return {weights,    recurrent,           per_column, per_column + row, per_column + 2 * row,
          projection, per_column + 3 * row};
}

template <class T>
GatePanels<T> LstmPanels<T>::gates() const {
  return view<T>();
}

template <class T>
void LstmPanels<T>::forward(const ForwardProblem<T>& problem, const SequenceShare& share, T* scratch,
                            Worker& worker) const {
  switch (storage_) {
    case Storage::full:
      return kernels().forward(problem, view<T>(), share, scratch, worker);
    case Storage::bfloat16:
      return kernels().forward_bfloat16(problem, view<BFloat16>(), share, scratch, worker);
    case Storage::int8:
      return kernels().forward_int8(problem, view<std::int8_t>(), share, scratch, worker);
    case Storage::operands:
      if constexpr (sizeof(T) == sizeof(float)) {
        products().kernels.forward(problem, view<BFloat16Operand>(), share, scratch, worker);
      }
      return;
    case Storage::bytes:
      if constexpr (sizeof(T) == sizeof(float)) {
        byte_products().kernels.forward(problem, view<Int8Operand>(), share, scratch, worker);
      }
      return;
  }
}

template <class T>
void LstmPanels<T>::backward(const BackwardProblem<T>& problem, const SequenceShare& share, T* scratch,
                             Worker& worker) const {
  if constexpr (sizeof(T) == sizeof(float)) {
    if (storage_ == Storage::operands) {
      return products().kernels.backward(problem, view_transposed<BFloat16Operand>(), share, scratch, worker);
    }
  }
  kernels().backward(problem, view_transposed<T>(), share, scratch, worker);
}

template <class T>
template <class W>
typename LstmPanels<T>::TransposedSizes LstmPanels<T>::transposed_sizes() const {
  const auto panels = [this](Index count) { return (count + columns() - 1) / columns(); };
  const Index panel_size = panel_rows<W>(gate_panels() * columns()) * columns();
  const Index recurrent = panels(outputs_) * panel_size;
  const Index gates = recurrent + panels(inputs_) * panel_size;
  return {recurrent, gates, gates + (projects_ ? panels(units_) * panel_rows<W>(outputs_) * columns() : 0)};
}

template <class T>
template <class W>
TransposedPanels<T, W> LstmPanels<T>::view_transposed() const {
  const TransposedSizes sizes = transposed_sizes<W>();
  const W* data = reinterpret_cast<const W*>(transposed_.load(std::memory_order_acquire));
  return {data + sizes.recurrent, data, projects_ ? data + sizes.gates : nullptr};
}

template <class T>
TransposedPanels<T> LstmPanels<T>::transposed() const {
  return view_transposed<T>();
}

template <class T>
template <class W>
void LstmPanels<T>::transpose_into(TeamLease& team, W* fresh) const {
  const auto panels = [this](Index count) { return (count + columns() - 1) / columns(); };
  const GatePanels<T, W> gates = view<W>();
  const TransposedSizes sizes = transposed_sizes<W>();
  const auto transpose_gates = [&](const W* source, Index K, Range one, W* out) {
    if constexpr (sizeof(W) == sizeof(T)) {
      kernels().transpose_gates(source, K, units_, one, out);
    } else {
      products().kernels.transpose_gates(source, K, units_, one, out);
    }
  };
  const auto transpose_projection = [&](Range one) {
    if constexpr (sizeof(W) == sizeof(T)) {
      kernels().transpose_panels(gates.projection, units_, outputs_, one, fresh + sizes.gates);
    } else {
      products().kernels.transpose_panels(gates.projection, units_, outputs_, one, fresh + sizes.gates);
    }
  };
  team.run([&](Worker& worker) {
    const auto transpose = [&](int share) {
      Worker alone = Worker::alone(worker);
      const auto each = [&](Index count, Index size_of_each, const auto& work) {
        const Range range = share_of(count, share, team.count());
        for (Index panel = range.begin; panel < range.end; ++panel) {
          work(Range{panel, panel + 1});
          if (alone.stopped(2 * size_of_each)) return;
        }
      };
      const Index panel_size = gate_panels() * columns() * columns();
      each(panels(outputs_), panel_size,
           [&](Range one) { transpose_gates(gates.recurrent, outputs_, one, fresh); });
      each(panels(inputs_), panel_size,
           [&](Range one) { transpose_gates(gates.input, inputs_, one, fresh + sizes.recurrent); });
      if (projects_) each(panels(units_), outputs_ * columns(), transpose_projection);
    };
    worker.phase(team.count(), transpose, true);
  });
}

template <class T>
void LstmPanels<T>::transpose(TeamLease& team) const {
  if (transposed_.load(std::memory_order_acquire) != nullptr) return;
  const auto make = [&]<class W>() {
    Buffer<W> fresh(transposed_sizes<W>().all);
    transpose_into<W>(team, fresh.data());
    return std::move(fresh).template as<char>();
  };
  Buffer<char> fresh = storage_ == Storage::operands ? make.template operator()<BFloat16Operand>()
                                                     : make.template operator()<T>();
  if (Interruptible::leave(0)) throw Interrupted();  // It may be incomplete.
  // Two threads may come here at once; both copies are the same, and one is kept.
  char* none = nullptr;
  if (transposed_.compare_exchange_strong(none, fresh.data(), std::memory_order_acq_rel)) fresh.release();
}

template <class T>
void LstmPanels<T>::unpack(T* kernel, T* recurrent_kernel, T* projection) const {
  const Index width = kernels().width;
  const auto unpack_panels = [&]<class W>(const W* panels, const T* scale, Index K, T* out,
                                          const auto& widen) {
    parallel(K, elementwise_grain / (kGates * units_) + 1, [&](Range rows) {
      T* target = out + rows.begin * kGates * units_;
      for (Index k = rows.begin; k < rows.end; ++k) {
        for (Index gate = 0; gate < kGates; ++gate) {
          for (Index unit = 0; unit < units_; ++unit) {
            const Index panel = unit / width;
            const W* of_panel = panels + panel * panel_rows<W>(K) * columns();
            const T factor = scale != nullptr ? scale[panel * columns() + gate * width + unit % width] : T(1);
            *target++ = widen(of_panel[place_in_panel<W>(k, gate, unit % width, width)]) * factor;
          }
        }
      }
    });
  };
  const auto unpack_columns = [&]<class W>(const W* panels, const T* scale, T* out, const auto& widen) {
    parallel(units_, elementwise_grain / outputs_ + 1, [&](Range rows) {
      T* target = out + rows.begin * outputs_;
      for (Index k = rows.begin; k < rows.end; ++k) {
        for (Index n = 0; n < outputs_; ++n) {
          const Index j = n % columns();
          const W* panel = panels + n / columns() * panel_rows<W>(units_) * columns();
          *target++ = widen(panel[place_in_panel<W>(k, j / width, j % width, width)]) *
                      (scale != nullptr ? scale[n] : T(1));
        }
      }
    });
  };
  const auto unpack_all = [&](const auto& gates, const auto& widen) {
    const bool scaled = storage_ == Storage::int8 || storage_ == Storage::bytes;
    unpack_panels(gates.input, scaled ? gates.input_scale : nullptr, inputs_, kernel, widen);
    unpack_panels(gates.recurrent, scaled ? gates.recurrent_scale : nullptr, outputs_, recurrent_kernel,
                  widen);
    if (projects_)
      unpack_columns(gates.projection, scaled ? gates.projection_scale : nullptr, projection, widen);
  };
  switch (storage_) {
    case Storage::full:
      return unpack_all(view<T>(), [](T value) { return value; });
    case Storage::bfloat16:
      return unpack_all(view<BFloat16>(), [](BFloat16 value) {
        return static_cast<T>(__builtin_bit_cast(float, std::uint32_t{value.bits} << 16));
      });
    case Storage::int8:
      return unpack_all(view<std::int8_t>(), [](std::int8_t value) { return static_cast<T>(value); });
    case Storage::operands:
      return unpack_all(view<BFloat16Operand>(), [](BFloat16Operand value) {
        return static_cast<T>(__builtin_bit_cast(float, std::uint32_t{value.bits} << 16));
      });
    case Storage::bytes:
      return unpack_all(view<Int8Operand>(), [](Int8Operand value) { return static_cast<T>(value.bits); });
  }
}

template <class T>
void LstmPanels<T>::unpack(PerColumn which, T* out) const {
  const Index width = kernels().width;
  const T* source = columns_.data() + static_cast<Index>(which) * gate_panels() * columns();
  if (which == PerColumn::projection_scale) {
    std::copy_n(source, outputs_, out);
    return;
  }
  for (Index gate = 0; gate < kGates; ++gate) {
    for (Index unit = 0; unit < units_; ++unit) {
      *out++ = source[unit / width * columns() + gate * width + unit % width];
    }
  }
}

template class LstmPanels<float>;
template class LstmPanels<double>;

}  // namespace fusedlstm
