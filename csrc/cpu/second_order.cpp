#include "second_order.h"

#include <algorithm>

#include "second_order_problem.h"
#include "shares.h"

namespace fusedlstm {
namespace {

// A direction, packed for the kernels of the weights that it belongs to.
template <class T>
class DirectionPanels {
 public:
  DirectionPanels(const LstmPanels<T>& weights, const Direction<T>& direction);

  // Panels for the tangents; the bias's are always there, zeros where it does not move.
  GatePanels<T> gates() const;
  // Panels for their way back, null where a kernel does not move.
  TransposedPanels<T> transposed(TeamLease& team) const;
  const T* zeros() const { return zeros_.data(); }

 private:
  bool kernel_;
  bool recurrent_kernel_;
  Buffer<T> zeros_;  // for four rows of the gates
  std::unique_ptr<const LstmPanels<T>> panels_;
};

template <class T>
DirectionPanels<T>::DirectionPanels(const LstmPanels<T>& weights, const Direction<T>& direction)
    : kernel_(direction.kernel != nullptr),
      recurrent_kernel_(direction.recurrent_kernel != nullptr),
      zeros_(weights.gate_panels() * weights.columns()) {
  std::fill_n(zeros_.data(), weights.gate_panels() * weights.columns(), T(0));
  if (!kernel_ && !recurrent_kernel_ && direction.bias == nullptr) return;
  panels_ = std::make_unique<const LstmPanels<T>>(
      weights.inputs(), weights.units(), weights.outputs(),
      typename LstmPanels<T>::Source{
          kernel_ ? direction.kernel : zeros_.data(), kernel_ ? direction.kernel_stride : 0,
          recurrent_kernel_ ? direction.recurrent_kernel : zeros_.data(),
          recurrent_kernel_ ? direction.recurrent_stride : 0, direction.bias, nullptr, 0},
      Storage::full, weights.set());
}

template <class T>
GatePanels<T> DirectionPanels<T>::gates() const {
  if (panels_ == nullptr) return {nullptr, nullptr, zeros_.data()};
  const GatePanels<T> all = panels_->gates();
  return {kernel_ ? all.input : nullptr, recurrent_kernel_ ? all.recurrent : nullptr, all.bias};
}

template <class T>
TransposedPanels<T> DirectionPanels<T>::transposed(TeamLease& team) const {
  if (!kernel_ && !recurrent_kernel_) return {nullptr, nullptr, nullptr};
  panels_->transpose(team);
  const TransposedPanels<T> all = panels_->transposed();
  return {kernel_ ? all.input : nullptr, recurrent_kernel_ ? all.recurrent : nullptr, nullptr};
}

// Fills in the direction's panels and the dropped initial states, and runs the problem.
template <class T>
KernelRun run_tangents(const LstmPanels<T>& panels, const DirectionPanels<T>& direction,
                       TangentProblem<T> problem) {
  const Kernels<T>& kernels = panels.set().template of<T>();
  const Sizes& n = problem.primal.sizes;
  const Index gate_panels = panels.gate_panels();
  const Index real_steps = count_real_steps(problem.timeline, n.batch);
  TeamLease team(sequence_job(n, real_steps, kernels.costs(), gate_panels, num_threads()));
  const SequencePlan plan = plan_sequence(n, kernels.costs(), gate_panels, team.count());
  const RowShares rows(problem.timeline, n.batch, plan.units_split ? 1 : team.count());
  const Index columns = kernels.columns();
  const Index chunk_rows = plan.chunk * plan.row_block;
  const Scratch<T> scratch(team.count(), chunk_rows * (columns + 4) + 16, gate_panels * chunk_rows * columns,
                           plan.units_split);
  const Index states = n.batch * n.units;
  const Buffer<T> dropped_h0 = drop(problem.h0, problem.recurrent_mask, states);
  const Buffer<T> dropped_primal = drop(problem.primal.h0, problem.recurrent_mask, states);
  problem.dropped_h0 = dropped_h0.data();
  problem.primal.dropped_h0 = dropped_primal.data();

  const GatePanels<T> moving = direction.gates();
  problem.kernel = moving.input;
  problem.recurrent_kernel = moving.recurrent;
  problem.zeros = direction.zeros();
  problem.sizes = n;
  if (!problem.x) {
    problem.sizes.inputs = 0;
    problem.x = {direction.zeros(), 0, 0};
  }
  GatePanels<T> weights = panels.gates();
  weights.bias = moving.bias;
  team.run([&](Worker& worker) {
    const auto run = [&](const SequenceShare& share, Worker& thread) {
      TangentProblem<T> part = problem;
      part.products = scratch.products(thread);
      kernels.tangents(part, weights, share, scratch.of(thread), thread);
    };
    run_sequence(plan, rows, {gate_panels}, team.count(), worker, true, run);
  });
  KernelRun run = describe<T>("lstm_jvp", panels.set(), team.count(), plan.units_split);
  run.options = problem.options != nullptr;
  return run;
}

// Fills in all panels, dy and the dropped initial states, runs the problem, and computes the tangents of the
// weights' gradients.
template <class T>
KernelRun run_second_backward(const LstmPanels<T>& panels, const DirectionPanels<T>& direction,
                              SecondProblem<T> problem) {
  const Kernels<T>& kernels = panels.set().template of<T>();
  const Sizes& n = problem.sizes;
  const Timeline& timeline = problem.timeline;
  const Index columns = kernels.columns();
  const Index states = n.batch * n.units;
  const Index hidden_panels = panels_of(n.units, columns);
  const Index input_panels = panels_of(n.inputs, columns);
  const Index real_steps = count_real_steps(timeline, n.batch);
  TeamLease team(sequence_job(n, real_steps, kernels.costs(), hidden_panels, num_threads()));
  panels.transpose(team);
  const TransposedPanels<T> weights = panels.transposed();
  const TransposedPanels<T> moving = direction.transposed(team);
  const SequencePlan plan = plan_sequence(n, kernels.costs(), hidden_panels, team.count());
  const RowShares rows(timeline, n.batch, plan.units_split ? 1 : team.count());

  const Buffer<T> dropped_h0 = drop(problem.h0, problem.recurrent_mask, states);
  const Buffer<T> dropped_h0_dot = drop(problem.h0_dot, problem.recurrent_mask, states);
  problem.dropped_h0 = dropped_h0.data();
  const bool dropping = problem.recurrent_mask != nullptr;

  // The recurrent kernel's direction adds these to dh_dot of every step and of h0: none to that of each row's
  // last step.
  const bool recurrent_moves = moving.recurrent != nullptr;
  const Buffer<T> through_recurrent(recurrent_moves ? n.steps * states : 0);
  const Buffer<T> through_first(recurrent_moves ? states : 0);
  GateProduct<T> to_hidden{};
  if (recurrent_moves) {
    std::fill_n(through_first.data(), states, T(0));
    const Sequence<T> target{through_recurrent.data(), n.steps * n.units, n.units};
    for (Index b = 0; b < n.batch; ++b) {
      const Index length = timeline.length(b);
      if (length > 0) std::fill_n(target.at(b, timeline.time(b, length - 1)), n.units, T(0));
    }
    problem.dy = {target.data, target.row, target.step};
    to_hidden = {n.batch, timeline, n.units, problem.gate_gradients, moving.recurrent,
                 n.units, target,   1,       through_first.data(),   problem.recurrent_mask,
                 false};
  }
  const GateProduct<T> to_inputs{n.batch,      timeline, n.units,    problem.gate_gradients,
                                 moving.input, n.inputs, problem.dx, 0,
                                 nullptr,      nullptr,  true};

  // dkernel_dot = x^T dz_dot + x_dot^T dz, and so on.
  const WeightGradientProblem<T> gradients = kernel_gradients<T>(problem);
  WeightGradientProblem<T> others = gradients;
  others.right = problem.gate_gradients;
  others.left_count = 0;
  if (problem.x_dot) {
    others.left[others.left_count++] = {{problem.x_dot, Slots::times}, n.inputs, 0, nullptr, problem.dkernel};
  }
  others.left[others.left_count++] = {dropping ? problem.dropped_dot : problem.h_dot, n.units, 1,
                                      dropping ? dropped_h0_dot.data() : problem.h0_dot,
                                      problem.drecurrent_kernel};
  others.bias = nullptr;
  others.accumulate = true;
  BackwardProblem<T> other_peepholes = problem;
  other_peepholes.gates = const_cast<T*>(problem.gate_gradients);
  other_peepholes.cells = problem.cells_dot;
  other_peepholes.accumulate = true;

  const Index hidden_tiles = panels_of(n.units, kernels.tile_rows);
  const Index tiles = panels_of(n.inputs, kernels.tile_rows) + hidden_tiles;
  const Index other_tiles = problem.x_dot ? tiles : hidden_tiles;
  const Index thread_tiles = panels_of(tiles, team.count());
  const Index sequence_scratch = plan.chunk * plan.row_block * (columns + 6) + 32;
  const Index gradient_scratch = (thread_tiles * kernels.tile_rows * kernels.group + columns) * kernels.block;
  const Scratch<T> scratch(team.count(), std::max(sequence_scratch, gradient_scratch));
  const int count = team.count();
  team.run([&](Worker& worker) {
    const auto run = [&](const SequenceShare& share, Worker& thread) {
      T* memory = scratch.of(thread);
      const auto multiply = [&](const GateProduct<T>& product, Index columns_panels) {
        thread.phase(share.parts, [&](int part) {
          kernels.gate_product(product, share, share.part_of(columns_panels, part), memory, thread);
        });
      };
      if (recurrent_moves) multiply(to_hidden, share.panels);
      kernels.second_backward(problem, weights, share, memory, thread);
      if (problem.dx && moving.input != nullptr) multiply(to_inputs, share.input_panels);
    };
    run_sequence(plan, rows, {hidden_panels, input_panels}, count, worker, false, run);
    worker.phase(count, [&](int share) {
      Worker alone = Worker::alone(worker);
      const Range of_gates = share_of(panels.gate_panels(), share, count);
      const GradientShare own{share_of(tiles, share, count), {0, panels.gate_panels()}, of_gates};
      kernels.weight_gradients(gradients, own, scratch.of(worker), alone);
      if (problem.dpeepholes != nullptr) {
        kernels.peephole_gradients(problem, of_gates);
        kernels.peephole_gradients(other_peepholes, of_gates);
      }
    });
    // Its parts are of other features where x does not move.
    worker.phase(count, [&](int share) {
      Worker alone = Worker::alone(worker);
      const Range of_gates = share_of(panels.gate_panels(), share, count);
      const GradientShare own{share_of(other_tiles, share, count), {0, panels.gate_panels()}, of_gates};
      kernels.weight_gradients(others, own, scratch.of(worker), alone);
    });
  });
  for (Index i = 0; recurrent_moves && i < states; ++i) problem.dh0[i] += through_first.data()[i];
  KernelRun run = describe<T>("lstm_second_backward", panels.set(), team.count(), plan.units_split);
  run.options = problem.options != nullptr;
  return run;
}

// One run along a direction. `steps`: keep the tangents of gates and cells of all steps.
template <class T>
class TangentRun {
 public:
  TangentRun(const Tape<T>& tape, const Direction<T>& direction, const LstmResults<T>& tangents, bool steps)
      : tape_(tape), direction_(direction), tangents_(tangents) {
    const Sizes& n = tape.problem.sizes;
    const Index states = n.batch * n.units;
    static_cast<SequenceProblem<T>&>(p) = p.primal = tape.problem;
    p.x = direction.x;
    p.h0 = direction.h0;
    p.h = {{tangents.y, n.steps * n.units, n.units}, Slots::times};
    p.peepholes_dot = direction.peepholes;
    if (steps) {
      gates_ = Buffer<T>(gate_tape_size(*tape.memory->panels, n));
      cells_ = Buffer<T>((n.steps + 1) * states);
      p.gates = gates_.data();
      p.cells = cells_.data();
      p.cells_step = states;
    } else {
      p.cells = tangents.c;
    }
    if (p.recurrent_mask != nullptr) dropped_ = Buffer<T>(steps ? n.steps * states : 2 * states);
    p.dropped = steps ? HiddenStates<T>{{dropped_.data(), n.steps * n.units, n.units}, Slots::steps}
                      : HiddenStates<T>{{dropped_.data(), n.units, states}, Slots::two};
  }
  TangentRun(const TangentRun&) = delete;
  TangentRun& operator=(const TangentRun&) = delete;

  KernelRun run() {
    const LstmPanels<T>& panels = *tape_.memory->panels;
    const Sizes& n = p.sizes;
    const Index states = n.batch * n.units;
    packed_ = std::make_unique<const DirectionPanels<T>>(panels, direction_);
    if (direction_.c0 != nullptr) {
      std::copy_n(direction_.c0, states, p.cells);
    } else {
      std::fill_n(p.cells, states, T(0));
    }
    const KernelRun run = run_tangents(panels, *packed_, p);
    copy_last_states<T>(p, tangents_.h, p.gates != nullptr ? tangents_.c : nullptr);
    if (!tape_.real.all()) tape_.real.fill_outputs(tangents_.y, p.h0, n.batch, n.steps, n.units);
    return run;
  }

  const DirectionPanels<T>& packed() const { return *packed_; }

  TangentProblem<T> p{};

 private:
  const Tape<T>& tape_;
  const Direction<T>& direction_;
  const LstmResults<T>& tangents_;
  Buffer<T> gates_;
  Buffer<T> cells_;
  Buffer<T> dropped_;
  std::unique_ptr<const DirectionPanels<T>> packed_;
};

}  // namespace

template <class T>
KernelRun lstm_jvp(const Tape<T>& tape, const Direction<T>& direction, const LstmResults<T>& tangents) {
  tape.check_unused();
  tape.check_differentiable();
  return TangentRun<T>(tape, direction, tangents, false).run();
}

template <class T>
KernelRun lstm_second_backward(const GradientTape<T>& gradient_tape, const Direction<T>& direction,
                               const LstmResults<T>& tangents, const ArgumentGradients<T>& gradients) {
  const Tape<T>& tape = gradient_tape.forward;
  const auto& first = *gradient_tape.memory;
  const Sizes& n = tape.problem.sizes;
  TangentRun<T> run(tape, direction, tangents, true);
  const TangentProblem<T>& along = run.p;
  const ForwardProblem<T>& primal = tape.problem;
  SecondProblem<T> p{};
  static_cast<SequenceProblem<T>&>(p) = primal;
  static_cast<ArgumentGradients<T>&>(p) = gradients;
  p.h = primal.h.only_read();
  p.dropped = primal.dropped.only_read();
  p.cells = primal.cells;
  p.activated = primal.gates;
  p.gates = along.gates;
  p.dh_steps = first.dh.data();
  p.dc_steps = first.dc.data();
  p.gate_gradients = first.gates.data();
  p.cells_dot = along.cells;
  p.x_dot = along.x;
  p.h0_dot = along.h0;
  p.h_dot = along.h.only_read();
  p.dropped_dot = along.dropped.only_read();
  p.peepholes_dot = along.peepholes_dot;
  std::fill_n(p.dc0, n.batch * n.units, T(0));
  run.run();
  const KernelRun last = run_second_backward(*tape.memory->panels, run.packed(), p);
  if (p.dx) tape.real.clear_others(p.dx, n.batch, n.steps, n.inputs);
  return last;
}

#define FUSEDLSTM_INSTANTIATE(T)                                                           \
  template KernelRun lstm_jvp(const Tape<T>&, const Direction<T>&, const LstmResults<T>&); \
  template KernelRun lstm_second_backward(const GradientTape<T>&, const Direction<T>&,     \
                                          const LstmResults<T>&, const ArgumentGradients<T>&);
FUSEDLSTM_INSTANTIATE(float)
FUSEDLSTM_INSTANTIATE(double)
#undef FUSEDLSTM_INSTANTIATE

}  // namespace fusedlstm
