// Shared by the calls for whole sequences: scratch memory, and each thread's share of rows and panels.
#pragma once

#include <algorithm>
#include <functional>
#include <numeric>

#include "lstm.h"
#include "plan.h"

namespace fusedlstm {

// Scratch memory for each thread, and products of its rows, or of all rows where threads split the units;
// from one allocation, which a single step notices.
template <class T>
class Scratch {
 public:
  Scratch(int threads, Index each, Index products = 0, bool units_split = false)
      : own_(round_up(each)),
        each_(own_ + (units_split ? 0 : round_up(products))),
        products_(units_split ? threads * each_ : own_),
        units_split_(units_split),
        buffer_(threads * each_ + (units_split ? products : 0)) {}

  T* of(const Worker& worker) const { return buffer_.data() + worker.id() * each_; }
  T* products(const Worker& worker) const { return (units_split_ ? buffer_.data() : of(worker)) + products_; }

 private:
  static Index round_up(Index count) { return (count + 15) / 16 * 16; }

  Index own_;
  Index each_;
  Index products_;  // where they begin
  bool units_split_;
  Buffer<T> buffer_;
};

inline Index count_real_steps(const Timeline& timeline, Index batch) {
  Index count = 0;
  for (Index b = 0; b < batch; ++b) count += timeline.length(b);
  return count;
}

// The batch rows of each thread, longest first. Rows of equal lengths stay in neighbouring order; others are
// dealt like cards, so that every thread gets long ones and short ones.
class RowShares {
 public:
  RowShares(const Timeline& timeline, Index batch, int shares)
      : batch_(batch), shares_(shares), rows_(batch) {
    Index* rows = rows_.data();
    if (timeline.lengths == nullptr) {
      std::iota(rows, rows + batch, Index{0});
      return;
    }
    const Buffer<Index> sorted(batch);
    Index* order = sorted.data();
    std::iota(order, order + batch, Index{0});
    std::stable_sort(order, order + batch,
                     [&](Index a, Index b) { return timeline.lengths[a] > timeline.lengths[b]; });
    for (int share = 0; share < shares; ++share) {
      for (Index card = share; card < batch; card += shares) *rows++ = order[card];
    }
  }

  const Index* begin(int share) const { return rows_.data() + range(share).begin; }
  Index count(int share) const { return range(share).size(); }

 private:
  // The first batch % shares threads have one row more, as in dealing.
  Range range(int share) const {
    const auto begin_of = [&](int i) {
      return i * (batch_ / shares_) + std::min<Index>(i, batch_ % shares_);
    };
    return {begin_of(share), begin_of(share + 1)};
  }

  Index batch_;
  int shares_;
  Buffer<Index> rows_;
};

// The panels of a sequence kernel that threads split, by their use.
struct SplitPanels {
  Index panels;
  Index input_panels = 0;
  Index projection_panels = 0;
};

// Runs a sequence kernel: kernel(share, worker), once for each share of the rows, or, where threads split
// the units, on each thread with all rows. What a kernel calls its scratch is the thread's. `ends_job`: the
// job has no phases after.
template <class Kernel>
void run_sequence(const SequencePlan& plan, const RowShares& rows, const SplitPanels& split, int count,
                  Worker& worker, bool ends_job, const Kernel& kernel) {
  const auto share_of_rows = [&](int share, int parts) -> SequenceShare {
    return {rows.begin(share),       rows.count(share), parts,      split.panels, split.input_panels,
            split.projection_panels, plan.row_block,    plan.chunk, plan.joined,  ends_job};
  };
  if (plan.units_split) {
    kernel(share_of_rows(0, count), worker);
    return;
  }
  worker.phase(
      count,
      [&](int share) {
        Worker alone = Worker::alone(worker);
        kernel(share_of_rows(share, 1), alone);
      },
      ends_job);
}

// h0 as the first step's recurrent product reads it.
template <class T>
Buffer<T> drop(const T* h0, const T* mask, Index count) {
  if (h0 == nullptr || mask == nullptr) return {};
  Buffer<T> dropped(count);
  std::transform(h0, h0 + count, mask, dropped.data(), std::multiplies<T>());
  return dropped;
}

// dkernel, drecurrent_kernel and dbias from the gates' gradients.
template <class T>
WeightGradientProblem<T> kernel_gradients(const BackwardProblem<T>& p) {
  const bool dropping = p.recurrent_mask != nullptr;
  WeightGradientProblem<T> gradients{};
  gradients.batch = p.sizes.batch;
  gradients.rows = {0, p.sizes.batch};
  gradients.timeline = p.timeline;
  gradients.columns = kGates * p.sizes.units;
  gradients.units = p.sizes.units;
  gradients.right = p.gates;
  gradients.left[0] = {{p.x, Slots::times}, p.sizes.inputs, 0, nullptr, p.dkernel};
  gradients.left[1] = {dropping ? p.dropped : p.h, p.sizes.outputs, 1, dropping ? p.dropped_h0 : p.h0,
                       p.drecurrent_kernel};
  gradients.left_count = 2;
  gradients.bias = p.dbias;
  gradients.accumulate = p.accumulate;
  return gradients;
}

template <class T>
KernelRun describe(const char* operation, const KernelSet& set, int threads, bool units_split) {
  return {operation, set.name, sizeof(T) == sizeof(double), threads, units_split};
}

}  // namespace fusedlstm
