#include "second_order.h"

#include <algorithm>

#include "shares.h"

namespace fusedlstm {

template <class T>
DirectionPanels<T>::DirectionPanels(const LstmPanels<T>& weights, const Direction<T>& direction)
    : kernel_(direction.kernel != nullptr),
      recurrent_kernel_(direction.recurrent_kernel != nullptr),
      zeros_(4 * weights.gate_panels() * weights.width()) {
  std::fill_n(zeros_.data(), 4 * weights.gate_panels() * weights.width(), T(0));
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
  const TransposedPanels<T> all = panels_->transposed(team);
  return {kernel_ ? all.input : nullptr, recurrent_kernel_ ? all.recurrent : nullptr, nullptr};
}

template <class T>
KernelRun run_tangents(const LstmPanels<T>& panels, const DirectionPanels<T>& direction,
                       TangentProblem<T> problem) {
  const Kernels<T>& kernels = panels.set().template of<T>();
  const Sizes& n = problem.primal.sizes;
  const Index gate_panels = panels.gate_panels();
  const Index real_steps = count_real_steps(problem.timeline, n.batch);
  TeamLease team(sequence_job(n, real_steps, sizeof(T), kernels.tile_rows, gate_panels, num_threads()));
  const SequencePlan plan = plan_sequence(n, sizeof(T), kernels.tile_rows, gate_panels, team.count());
  const RowShares rows(problem.timeline, n.batch, plan.units_split ? 1 : team.count());
  const Index columns = 4 * kernels.width;
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
    const auto run = [&](const SequenceShare& share, Worker& own) {
      TangentProblem<T> part = problem;
      part.products = scratch.products(own);
      kernels.tangents(part, weights, share, scratch.of(own), own);
    };
    run_sequence(plan, rows, {gate_panels}, team.count(), worker, true, run);
  });
  KernelRun run = describe<T>("lstm_jvp", panels.set(), team.count(), plan.units_split);
  run.options = problem.options != nullptr;
  return run;
}

template <class T>
KernelRun run_second_backward(const LstmPanels<T>& panels, const DirectionPanels<T>& direction,
                              SecondProblem<T> problem) {
  const Kernels<T>& kernels = panels.set().template of<T>();
  const Sizes& n = problem.sizes;
  const Timeline& timeline = problem.timeline;
  const Index columns = 4 * kernels.width;
  const Index states = n.batch * n.units;
  const Index hidden_panels = panels_of(n.units, columns);
  const Index input_panels = panels_of(n.inputs, columns);
  const Index real_steps = count_real_steps(timeline, n.batch);
  TeamLease team(sequence_job(n, real_steps, sizeof(T), kernels.tile_rows, hidden_panels, num_threads()));
  problem.weights = panels.transposed(team);
  const TransposedPanels<T> moving = direction.transposed(team);
  const SequencePlan plan = plan_sequence(n, sizeof(T), kernels.tile_rows, hidden_panels, team.count());
  const RowShares rows(timeline, n.batch, plan.units_split ? 1 : team.count());

  const Buffer<T> dropped_h0 = drop(problem.h0, problem.recurrent_mask, states);
  const Buffer<T> dropped_h0_dot = drop(problem.h0_dot, problem.recurrent_mask, states);
  problem.dropped_h0 = dropped_h0.data();
  const bool dropping = problem.recurrent_mask != nullptr;

  // What the direction of the recurrent kernel adds to dh_dot of every step and of h0: none to that of each
  // row's last step.
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
  const Index own_tiles = panels_of(tiles, team.count());
  const Index sequence_scratch = plan.chunk * plan.row_block * (columns + 6) + 32;
  const Index gradient_scratch = (own_tiles * kernels.tile_rows * kernels.group + columns) * kernels.block;
  const Scratch<T> scratch(team.count(), std::max(sequence_scratch, gradient_scratch));
  const int count = team.count();
  team.run([&](Worker& worker) {
    const auto run = [&](const SequenceShare& share, Worker& thread) {
      T* own = scratch.of(thread);
      const auto multiply = [&](const GateProduct<T>& product, Index columns_panels) {
        thread.phase(share.parts, [&](int part) {
          kernels.gate_product(product, share, share.part_of(columns_panels, part), own, thread);
        });
      };
      if (recurrent_moves) multiply(to_hidden, share.panels);
      kernels.second_backward(problem, share, own, thread);
      if (problem.dx && moving.input != nullptr) multiply(to_inputs, share.input_panels);
    };
    run_sequence(plan, rows, {hidden_panels, input_panels}, count, worker, false, run);
    worker.phase(count, [&](int share) {
      Worker alone = Worker::alone(worker);
      const Range of_gates = share_of(panels.gate_panels(), share, count);
      kernels.weight_gradients(gradients, share_of(tiles, share, count), of_gates, scratch.of(worker), alone);
      if (problem.dpeepholes != nullptr) {
        kernels.peephole_gradients(problem, of_gates);
        kernels.peephole_gradients(other_peepholes, of_gates);
      }
    });
    // Its parts are of other features where x does not move.
    worker.phase(count, [&](int share) {
      Worker alone = Worker::alone(worker);
      const Range of_gates = share_of(panels.gate_panels(), share, count);
      kernels.weight_gradients(others, share_of(other_tiles, share, count), of_gates, scratch.of(worker),
                               alone);
    });
  });
  for (Index i = 0; recurrent_moves && i < states; ++i) problem.dh0[i] += through_first.data()[i];
  KernelRun run = describe<T>("lstm_second_backward", panels.set(), team.count(), plan.units_split);
  run.options = problem.options != nullptr;
  return run;
}

template class DirectionPanels<float>;
template class DirectionPanels<double>;
template KernelRun run_tangents(const LstmPanels<float>&, const DirectionPanels<float>&,
                                TangentProblem<float>);
template KernelRun run_tangents(const LstmPanels<double>&, const DirectionPanels<double>&,
                                TangentProblem<double>);
template KernelRun run_second_backward(const LstmPanels<float>&, const DirectionPanels<float>&,
                                       SecondProblem<float>);
template KernelRun run_second_backward(const LstmPanels<double>&, const DirectionPanels<double>&,
                                       SecondProblem<double>);

}  // namespace fusedlstm
