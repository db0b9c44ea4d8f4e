// Packed weights.
#pragma once

#include <atomic>

#include "buffer.h"
#include "dispatch.h"
#include "kernel_run.h"

namespace fusedlstm {

// An immutable copy of one layer's weights in the panels of one instruction set. A tape keeps the copy that
// its forward pass used, so that later updates cannot disturb the backward pass.
template <class T>
class LstmPanels {
 public:
  // kernel (inputs, G), recurrent_kernel (outputs, G) and projection (units, outputs) with rows
  // `stride` apart; bias and projection may be null.
  struct Source {
    const T* kernel;
    Index kernel_stride;
    const T* recurrent_kernel;
    Index recurrent_stride;
    const T* bias;
    const T* projection;
    Index projection_stride;
  };
  // std::invalid_argument for numbers that are not finite, where they are to be kept as int8, and for sizes
  // whose sums would not fit.
  LstmPanels(Index inputs, Index units, Index outputs, const Source& source, Storage storage,
             const KernelSet& set = fusedlstm::kernels());
  ~LstmPanels();
  LstmPanels(const LstmPanels&) = delete;
  LstmPanels& operator=(const LstmPanels&) = delete;

  Index inputs() const { return inputs_; }
  Index units() const { return units_; }
  Index outputs() const { return outputs_; }  // of h
  bool projects() const { return projects_; }
  Index width() const { return kernels().width; }        // units of a gate panel
  Index columns() const { return kernels().columns(); }  // of a panel
  Index gate_panels() const { return (units_ + width() - 1) / width(); }
  Storage storage() const { return storage_; }
  const KernelSet& set() const { return *set_; }

  // The kernels for weights as they are stored here; `transpose` comes before backward.
  void forward(const ForwardProblem<T>& problem, const SequenceShare& share, T* scratch,
               Worker& worker) const;
  void backward(const BackwardProblem<T>& problem, const SequenceShare& share, T* scratch,
                Worker& worker) const;

  // The kernels that multiply operands, and bytes.
  ProductSet<ProductKernels> products() const { return fusedlstm::products(*set_); }
  ProductSet<ByteKernels> byte_products() const { return fusedlstm::products<ByteKernels>(*set_); }

  // Makes the panels for backward, when first asked to. Of weights that can be trained.
  void transpose(TeamLease& team) const;
  bool can_train() const { return storage_ == Storage::full || storage_ == Storage::operands; }

  // The panels of full storage.
  GatePanels<T> gates() const;
  TransposedPanels<T> transposed() const;
  const T* bias() const { return columns_.data(); }  // (panels, 4, width)

  // The weights that the kernels see, rounded as they are stored, as kernel, recurrent_kernel and projection,
  // where there is one, in C order.
  void unpack(T* kernel, T* recurrent_kernel, T* projection) const;

  // The bias, or the factors of int8 weights, one number for each column of that matrix in C order.
  enum class PerColumn { bias, input_scale, recurrent_scale, projection_scale };
  void unpack(PerColumn which, T* columns) const;

 private:
  const Kernels<T>& kernels() const { return set_->of<T>(); }
  Index projection_panels() const { return projects_ ? (outputs_ + columns() - 1) / columns() : 0; }
  template <class W>
  GatePanels<T, W> view() const;
  // Where the transposed panels of recurrent weights and of inputs end, and those of the projection, in
  // numbers.
  struct TransposedSizes {
    Index recurrent;
    Index gates;
    Index all;
  };
  template <class W>
  TransposedSizes transposed_sizes() const;
  template <class W>
  TransposedPanels<T, W> view_transposed() const;
  template <class W>
  void transpose_into(TeamLease& team, W* fresh) const;
  template <class W, class Round>
  void round_panels(const T* full, const Round& round);

  const KernelSet* set_;
  Index inputs_;
  Index units_;
  Index outputs_;
  bool projects_;
  Storage storage_;
  Buffer<char> weights_;  // input panels, recurrent panels, projection panels
  Buffer<T> columns_;     // bias, then the factors of int8 weights
  mutable std::atomic<char*> transposed_{nullptr};
};

}  // namespace fusedlstm
