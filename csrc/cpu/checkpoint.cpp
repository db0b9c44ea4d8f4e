#include "checkpoint.h"

#include <algorithm>

#include "interrupt.h"
#include "norm_memory.h"

namespace fusedlstm {

template <class T>
Checkpoints<T>::Checkpoints(const LstmPanels<T>& panels, const Sizes& sizes, Index every) : sizes_(sizes) {
  const Index unit = GradientBlocks(sizes.batch, panels.set().template of<T>().block).steps;
  // A window beyond the sequence is the whole of it, and so is that of an empty batch, which has nothing to
  // keep.
  const Index longest = std::max<Index>(sizes.steps, 1);
  every_ = ((sizes.batch > 0 ? std::min(every, longest) : longest) + unit - 1) / unit * unit;
  windows_ = std::max<Index>(1, (sizes.steps + every_ - 1) / every_);
  states_ = Buffer<T>(states_size());
}

template <class T>
Timeline Checkpoints<T>::window_of(const Timeline& sequence, Index window) const {
  Timeline timeline = sequence;
  timeline.offset = window * every_;
  timeline.steps = std::min(every_, sequence.total - timeline.offset);
  return timeline;
}

template <class T>
KernelRun Checkpoints<T>::forward(const LstmPanels<T>& panels, ForwardProblem<T> problem, T* h_last) {
  const Timeline sequence = problem.timeline;
  const T* first_h = problem.h0;
  const Index R = sizes_.outputs;
  const Index hidden = sizes_.batch * R;
  const Index cells = sizes_.batch * sizes_.units;
  if (first_h != nullptr) {
    std::copy_n(first_h, hidden, h_last);
  } else {
    std::fill_n(h_last, hidden, T(0));
  }
  KernelRun run;
  for (Index window = 0; window < windows_; ++window) {
    std::copy_n(h_last, hidden, h(window));
    std::copy_n(problem.cells, cells, c(window));
    problem.timeline = window_of(sequence, window);
    problem.sizes.steps = problem.timeline.steps;
    problem.h0 = window > 0 ? h(window) : first_h;
    run = run_forward(panels, problem);
    if (Interruptible::leave(0)) break;
    for (Index b = 0; b < sizes_.batch; ++b) {
      const Index length = problem.timeline.length(b);
      if (length > 0) std::copy_n(problem.hidden(b, length - 1), R, h_last + b * R);
    }
  }
  return run;
}

template <class T>
KernelRun Checkpoints<T>::backward(const LstmPanels<T>& panels, BackwardProblem<T> problem) const {
  const Timeline sequence = problem.timeline;
  const T* first_h = problem.h0;
  T* dh0 = problem.dh0;
  const Index B = sizes_.batch;
  const Index H = sizes_.units;
  const Index R = sizes_.outputs;
  const Index longest = std::min(every_, sizes_.steps);
  const GateTape next_layout(1, B, panels.width());
  const Buffer<T> gates(panels.gate_panels() * GateTape(longest, B, panels.width()).panel_size());
  const Buffer<T> cells((longest + 1) * B * H);
  const Buffer<T> hidden(longest * B * R);
  const Buffer<T> unprojected(panels.projects() ? longest * B * H : 0);
  const Buffer<T> dropped(problem.recurrent_mask != nullptr ? longest * B * R : 0);
  const Buffer<T> next_gates(panels.gate_panels() * next_layout.panel_size());
  const NormTapeMemory<T> norm(problem.layer_norm != nullptr, longest, B, panels.gate_panels(),
                               panels.width());
  const Index sums = panels.gate_panels() * layer_norm_sums(problem.options) * panels.width();
  const Buffer<T> row_sums = problem.layer_norm != nullptr ? Buffer<T>(B * sums) : Buffer<T>();

  problem.activated = gates.data();
  problem.gates = gates.data();
  problem.norm = norm.tape();
  problem.row_sums = row_sums.data();
  problem.cells = cells.data();
  problem.next_gates = next_gates.data();
  problem.h = {{hidden.data(), R, B * R}, Slots::steps};
  if (panels.projects()) problem.m = {{unprojected.data(), H, B * H}, Slots::steps};
  problem.dropped = {{dropped.data(), R, B * R}, Slots::steps};
  KernelRun run;
  for (Index window = windows_ - 1; window >= 0; --window) {
    problem.accumulate = window < windows_ - 1;
    if (problem.accumulate) {
      const GateTape layout(problem.timeline.steps, B, panels.width());
      for (Index panel = 0; panel < panels.gate_panels(); ++panel) {
        std::copy_n(gates.data() + layout.place(panel, 0, 0), B * layout.columns,
                    next_gates.data() + next_layout.place(panel, 0, 0));
      }
    }
    problem.timeline = window_of(sequence, window);
    problem.sizes.steps = problem.timeline.steps;
    problem.h0 = window > 0 ? h(window) : first_h;
    problem.dh0 = window > 0 ? nullptr : dh0;

    ForwardProblem<T> again{};
    static_cast<SequenceProblem<T>&>(again) = problem;
    again.h = {{hidden.data(), R, B * R}, Slots::steps};
    if (panels.projects()) again.m = {{unprojected.data(), H, B * H}, Slots::steps};
    again.cells = cells.data();
    again.cells_step = B * H;
    again.gates = gates.data();
    again.dropped = {{dropped.data(), R, B * R}, Slots::steps};
    std::copy_n(c(window), B * H, cells.data());
    run_forward(panels, again);
    run = run_backward(panels, problem);
    if (Interruptible::leave(0)) break;
  }
  return run;
}

template class Checkpoints<float>;
template class Checkpoints<double>;

}  // namespace fusedlstm
