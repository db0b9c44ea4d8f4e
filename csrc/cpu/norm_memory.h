// Memory of layer normalization besides the plain LSTM's: rows of products, and sums that become gradients.
#pragma once

#include <algorithm>

#include "buffer.h"
#include "plan.h"

namespace fusedlstm {

// The parts of a tape that layer normalization adds.
template <class T>
class NormTapeMemory {
 public:
  NormTapeMemory() = default;
  NormTapeMemory(bool wanted, Index steps, Index batch, Index panels, Index width) {
    if (!wanted) return;
    const Index gates = panels * GateTape(steps, batch, width).panel_size();
    input_ = Buffer<T>(gates);
    moments_ = Buffer<T>(4 * steps * batch);
    size_ = gates + 4 * steps * batch;
  }

  NormTape<T> tape() const { return {input_.data(), moments_.data()}; }
  Index size() const { return size_; }  // in numbers

 private:
  Buffer<T> input_;
  Buffer<T> moments_;
  Index size_ = 0;
};

// The gradients of a layer-normalized cell's parameters, its bias and peepholes: for each batch row there are
// sums over its steps from the last to the first, through all windows, which are then added row by row. So
// their order does not depend on threads.
template <class T>
class NormGradients {
 public:
  NormGradients(const BackwardProblem<T>& p, const Kernels<T>& kernels) : p_(p), kernels_(kernels) {
    if (p.layer_norm == nullptr) return;
    count_ = layer_norm_sums(p.options);
    size_ = panels_of(p.sizes.units, kernels.width) * count_ * kernels.width;
    if (p.row_sums == nullptr) sums_ = Buffer<T>(p.sizes.batch * size_);
    total_ = Buffer<T>(size_);
    // The others' begin at their last step.
    const Timeline& timeline = p.timeline;
    for (Index b = 0; complete() && b < p.sizes.batch; ++b) {
      const bool empty = timeline.total == 0 || (timeline.lengths != nullptr && timeline.lengths[b] == 0);
      if (empty) std::fill_n(row_sums() + b * size_, size_, T(0));
    }
  }

  T* row_sums() const { return p_.row_sums != nullptr ? p_.row_sums : sums_.data(); }

  // After this window there is none to come.
  bool complete() const { return p_.timeline.offset == 0; }

  // A part of the sum over rows.
  void add(int part, int parts) const {
    kernels_.add_rows(share_of(size_, part, parts), p_.sizes.batch, size_, row_sums(), total_.data());
  }

  void unpack() const {
    const LayerNormGradients<T>& out = p_.dlayer_norm;
    take(NormSums::bias, kGates, p_.dbias);
    take(NormSums::gamma_input, kGates, out.gamma_input);
    take(NormSums::gamma_recurrent, kGates, out.gamma_recurrent);
    take(NormSums::gamma_cell, 1, out.gamma_cell);
    take(NormSums::beta_cell, 1, out.beta_cell);
    take(NormSums::peepholes, 3, p_.dpeepholes);
  }

 private:
  // `vectors` of each panel, from `first` on, as rows (vectors, H).
  void take(Index first, Index vectors, T* out) const {
    if (out == nullptr) return;
    const Index width = kernels_.width;
    for (Index j = 0; j < vectors; ++j) {
      for (Index unit = 0; unit < p_.sizes.units; ++unit) {
        const Index vector = unit / width * count_ + first + j;
        *out++ = total_.data()[vector * width + unit % width];
      }
    }
  }

  BackwardProblem<T> p_;
  const Kernels<T>& kernels_;
  Index count_ = 0;  // vectors of a panel
  Index size_ = 0;   // of a row's sums
  Buffer<T> sums_;   // (B, size)
  Buffer<T> total_;
};

}  // namespace fusedlstm
