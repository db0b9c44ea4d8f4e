#include "lstm.h"

#include <algorithm>

#include "norm_memory.h"
#include "shares.h"

namespace fusedlstm {

template <class T>
KernelRun run_forward(const LstmPanels<T>& panels, ForwardProblem<T> problem) {
  const Kernels<T>& kernels = panels.set().template of<T>();
  const Sizes& n = problem.sizes;
  const Index gate_panels = panels_of(n.units, kernels.width);
  const Index real_steps = count_real_steps(problem.timeline, n.batch);
  const bool operands = panels.storage() == Storage::operands;
  const bool bytes = panels.storage() == Storage::bytes;
  const ProductCosts costs = operands ? panels.products().kernels.costs
                             : bytes  ? panels.byte_products().kernels.costs
                                      : kernels.costs();
  TeamLease team(sequence_job(n, real_steps, costs, gate_panels, num_threads()));
  SequencePlan plan = plan_sequence(n, costs, gate_panels, team.count());
  if (kernels.joins_products && panels.storage() != Storage::int8 && !operands && !bytes &&
      problem.layer_norm == nullptr && repays_joining(plan, n, costs, kernels.block)) {
    plan.joined = true;
    plan.chunk = 1;
  }
  const RowShares rows(problem.timeline, n.batch, plan.units_split ? 1 : team.count());
  const Index columns = kernels.columns();
  Index scratch_size = plan.chunk * plan.row_block * (columns + 2) + 16;
  if (operands) {
    const Index widest = std::max(n.units, n.outputs);
    scratch_size += plan.row_block * (widest + plan.chunk * n.inputs + 32 * (plan.chunk + 1)) / 2 + 32;
  }
  if (panels.storage() == Storage::int8 || bytes) {
    const Index widest = std::max(n.units, n.outputs);
    scratch_size += plan.row_block * ((widest + plan.chunk * n.inputs) / 2 + 18 * (plan.chunk + 1)) + 32;
  }
  const Index chunk_rows = plan.chunk * plan.row_block;
  const Index product_rows = problem.layer_norm != nullptr
                                 ? norm_panel_rows(plan.row_block) + norm_panel_rows(chunk_rows)
                                 : chunk_rows;
  const Scratch<T> scratch(team.count(), scratch_size, gate_panels * product_rows * columns,
                           plan.units_split);
  const Buffer<T> dropped_h0 = drop(problem.h0, problem.recurrent_mask, n.batch * n.outputs);
  problem.dropped_h0 = dropped_h0.data();
  const SplitPanels split{gate_panels, 0, panels_of(n.outputs, columns)};
  team.run([&](Worker& worker) {
    const auto run = [&](const SequenceShare& share, Worker& thread) {
      ForwardProblem<T> part = problem;
      part.products = scratch.products(thread);
      panels.forward(part, share, scratch.of(thread), thread);
    };
    run_sequence(plan, rows, split, team.count(), worker, true, run);
  });
  KernelRun run = describe<T>("lstm_forward", panels.set(), team.count(), plan.units_split);
  run.storage = panels.storage();
  if (operands) run.products = panels.products().name;
  if (bytes) run.products = panels.byte_products().name;
  run.options = problem.options != nullptr;
  run.projection = panels.projects();
  run.layer_norm = problem.layer_norm != nullptr;
  return run;
}

template <class T>
KernelRun run_backward(const LstmPanels<T>& panels, BackwardProblem<T> problem) {
  const Kernels<T>& kernels = panels.set().template of<T>();
  const Sizes& n = problem.sizes;
  const Index columns = kernels.columns();
  const Index hidden_panels = panels_of(n.outputs, columns);
  const Index unit_panels = panels_of(n.units, columns);
  const Index split_panels = std::max(hidden_panels, unit_panels);
  const Index input_panels = panels_of(n.inputs, columns);
  const Index real_steps = count_real_steps(problem.timeline, n.batch);
  const bool operands = panels.storage() == Storage::operands;
  const ProductKernels& products = panels.products().kernels;
  const ProductCosts costs = operands ? products.costs : kernels.costs();
  TeamLease team(sequence_job(n, real_steps, costs, split_panels, num_threads()));
  panels.transpose(team);
  problem.bias = panels.bias();
  const SequencePlan plan = plan_sequence(n, costs, split_panels, team.count());
  const RowShares rows(problem.timeline, n.batch, plan.units_split ? 1 : team.count());

  const Buffer<T> dropped_h0 = drop(problem.h0, problem.recurrent_mask, n.batch * n.outputs);
  problem.dropped_h0 = dropped_h0.data();
  const Index steps = n.batch * n.steps;
  const Buffer<T> dprojected = panels.projects() ? Buffer<T>(steps * n.outputs) : Buffer<T>();
  problem.dprojected = dprojected.data();
  const bool sees_new_cells = problem.dpeepholes != nullptr && problem.options->zoneout.c > 0;
  const Buffer<T> new_cells = sees_new_cells ? Buffer<T>(steps * n.units) : Buffer<T>();
  problem.new_cells = new_cells.data();

  WeightGradientProblem<T> gradients = kernel_gradients(problem);
  const Index tile_rows = operands ? products.gradient_rows : kernels.tile_rows;
  const Index tiles = panels_of(n.inputs, tile_rows) + panels_of(n.outputs, tile_rows);
  const Index bias_panels = panels.gate_panels();

  WeightGradientProblem<T> of_projection{};
  of_projection.batch = n.batch;
  of_projection.rows = {0, n.batch};
  of_projection.timeline = problem.timeline;
  of_projection.columns = n.outputs;
  of_projection.right = problem.dprojected;
  of_projection.left[0] = {problem.m, n.units, 0, nullptr, problem.dprojection};
  of_projection.left_count = 1;
  of_projection.accumulate = problem.accumulate;
  const Index projection_tiles = panels.projects() ? panels_of(n.units, tile_rows) : 0;
  const Index thread_tiles = panels_of(std::max(tiles, projection_tiles), team.count());

  // The two products have gradients of their own when they are normalized.
  const bool normal = problem.layer_norm != nullptr;
  const NormGradients<T> norm(problem, kernels);
  problem.row_sums = norm.row_sums();
  WeightGradientProblem<T> of_recurrent = gradients;
  if (normal) {
    gradients.right = problem.norm.input;
    of_recurrent.left[0] = gradients.left[1];
    gradients.left_count = of_recurrent.left_count = 1;
    gradients.bias = of_recurrent.bias = nullptr;
  }

  Index sequence_scratch = plan.chunk * plan.row_block * (columns + 4) + 16 +
                           (normal ? panels.gate_panels() * norm_scratch * kernels.width : 0);
  if (operands) {
    const Index gates = panels.gate_panels() * columns;
    sequence_scratch +=
        plan.row_block * (std::max(gates, n.outputs) + plan.chunk * gates + 32 * (plan.chunk + 1)) / 2 + 32;
  }
  const Index gradient_scratch = (thread_tiles * tile_rows * kernels.group + columns) * kernels.block;
  const Index norm_products = normal ? split_panels * norm_panel_rows(plan.row_block) * columns : 0;
  const Scratch<T> scratch(team.count(), std::max(sequence_scratch, gradient_scratch), norm_products,
                           plan.units_split);
  const SplitPanels split{hidden_panels, input_panels, unit_panels};
  team.run([&](Worker& worker) {
    const auto run = [&](const SequenceShare& share, Worker& thread) {
      BackwardProblem<T> part = problem;
      part.products = scratch.products(thread);
      panels.backward(part, share, scratch.of(thread), thread);
    };
    run_sequence(plan, rows, split, team.count(), worker, false, run);
    if (problem.dkernel == nullptr) return;
    const auto add_gradients = [&](int share) {
      Worker alone = Worker::alone(worker);
      const auto add = [&](const WeightGradientProblem<T>& p, Index count, Index bias_count) {
        const GradientShare own{share_of(count, share, team.count()),
                                {0, panels_of(p.columns, columns)},
                                share_of(bias_count, share, team.count())};
        if constexpr (sizeof(T) == sizeof(float)) {
          if (operands) return products.weight_gradients(p, own, scratch.of(worker), alone);
        }
        kernels.weight_gradients(p, own, scratch.of(worker), alone);
      };
      if (panels.projects()) add(of_projection, projection_tiles, 0);
      if (normal) {
        add(gradients, panels_of(n.inputs, tile_rows), 0);
        add(of_recurrent, panels_of(n.outputs, tile_rows), 0);
        if (norm.complete()) norm.add(share, team.count());
        return;
      }
      WeightGradientProblem<T> group = gradients;
      for (Index i = 0; i < problem.group_count; ++i) {
        group.rows = {problem.group_ends[i], problem.group_ends[i + 1]};
        add(group, tiles, bias_panels);
        group.left[0].gradient += n.inputs * group.columns;
        group.left[1].gradient += n.outputs * group.columns;
        if (group.bias != nullptr) group.bias += group.columns;
      }
      if (problem.group_count == 0) add(gradients, tiles, bias_panels);
      if (problem.dpeepholes != nullptr) {
        kernels.peephole_gradients(problem, share_of(panels.gate_panels(), share, team.count()));
      }
    };
    worker.phase(team.count(), add_gradients, true);
  });
  if (normal && problem.dkernel != nullptr && norm.complete()) norm.unpack();
  KernelRun run = describe<T>("lstm_backward", panels.set(), team.count(), plan.units_split);
  run.storage = panels.storage();
  if (operands) run.products = panels.products().name;
  run.options = problem.options != nullptr;
  run.projection = panels.projects();
  run.layer_norm = normal;
  return run;
}

template KernelRun run_forward(const LstmPanels<float>&, ForwardProblem<float>);
template KernelRun run_forward(const LstmPanels<double>&, ForwardProblem<double>);
template KernelRun run_backward(const LstmPanels<float>&, BackwardProblem<float>);
template KernelRun run_backward(const LstmPanels<double>&, BackwardProblem<double>);

}  // namespace fusedlstm
