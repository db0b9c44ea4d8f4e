// The forward kernel of staged_sequence.h.
#pragma once

#include "staged.cuh"

namespace fusedlstm::cuda {

template <class F>
__global__ void __launch_bounds__(grid_threads, 1)
    staged_forward_kernel(const __grid_constant__ SequenceForward<typename F::Number> p,
                          const __grid_constant__ StagedLayout layout, unsigned char* workspace,
                          const __grid_constant__ WithOptions<StateOf<typename F::Number>> maker) {
  using T = typename F::Number;
  using S = StateOf<T>;
  using Maker = WithOptions<S>;
  using V = CellNumber<T, Maker>;
  using Block = StagedBlock<F, Direction::forward>;
  constexpr int slice_units = Block::slice_units;
  // Constants of the launch: stages cost more than to ask for them.
  const bool normalized_cell = p.norm.gamma_recurrent != nullptr;
  const bool projected = p.projection != nullptr;
  const Index H = p.units;
  const Index R = projected ? p.outputs : H;
  const OutputColumns columns{p.batch, p.steps, R, p.lengths};
  const OutputSlices slices{layout.output_slices, layout.rows};
  const GridItems<slice_units, typename Block::Multiply, SequenceForward<T>> items(layout, p,
                                                                                   layout.recurrent.groups);
  const GridItems<Block::slice_columns, typename Block::Multiply, OutputColumns> outputs(
      slices, columns, layout.recurrent.groups);
  GridExchange<F, StagedLayout> exchange(layout, layout.recurrent.pitch, workspace);
  Block block(layout, workspace);
  Block::take(block.recurrent, layout.slices, [&](int slice, int column, int k) {
    const Index unit = static_cast<Index>(slice) * slice_units + column % slice_units;
    return unit < H && k < R ? p.recurrent_kernel[k * kGates * H + column / slice_units * H + unit] : T{};
  });
  Block::take(block.projection, layout.output_slices, [&](int slice, int column, int k) {
    const Index output = static_cast<Index>(slice) * Block::slice_columns + column;
    return output < R && k < H ? p.projection[k * R + output] : T{};
  });

  const auto factor_of = [&](const GridCell& own) {
    return p.recurrent_mask != nullptr ? widened(p.recurrent_mask[own.b * R + own.unit]) : S(1);
  };
  const auto start_hidden = [&](const GridCell& own) {
    *exchange.at(0, own.b, own.unit) = F::operand(factor_of(own) * widened(h_before(p, own, R, 0)));
  };
  const auto store_hidden = [&](const GridCell& own, int s, V h) {
    const UnitZoneout<V, Maker> zoneout(maker, own.b, own.unit);
    const auto h_prev = [&] { return V(widened(h_before(p, own, R, s))); };
    const T stored = narrowed<T>(zoneout.mixed(ZonedState::h, p.first_step + s, h_prev, h).v);
    p.y[(own.b * p.steps + s) * R + own.unit] = stored;
    *exchange.at(s + 1, own.b, own.unit) = F::operand(factor_of(own) * widened(stored));
  };

  items.for_each_cell([&](const GridCell& own) {
    const Index state = own.b * H + own.unit;
    const S c = p.c0 != nullptr ? p.c0[state] : S(0);
    p.c[state] = c;
    if (p.cells != nullptr) p.cells[state] = c;
    if (!projected) start_hidden(own);
  });
  if (projected) outputs.for_each_cell(start_hidden);
  const Waiting<S> waiting = block.waiting(H);
  const RowParts<S> recurrent_parts = block.parts(0);
  const RowParts<S> cell_parts = block.parts(1);
  const int last = items.longest();
  if (last > 0) exchange.barrier.meet();

  for (int s = 0; s < last; ++s) {
    const auto real = [&](const GridCell& own) { return own.exists && s < own.length; };
    const auto in_real_row = [&](const GridCell& own) { return own.in_row && s < own.length; };
    // From o and what is seen of c.
    const auto emit = [&](const GridCell& own, V o, V seen) {
      const V value = hidden_state(maker.cell(own.unit, H), o, seen);
      if (projected) {
        const T stored = narrowed<T>(value.v);
        *block.operand(own.b, own.unit) = F::operand(widened(stored));
        if (p.m != nullptr) p.m[(own.b * p.steps + s) * H + own.unit] = stored;
      } else {
        store_hidden(own, s, value);
      }
    };
    const auto run_cell = [&](const GridCell& own, const Gates<V>& z) {
      const Index state = own.b * H + own.unit;
      const Step<V, Maker> step(maker, own.b, own.unit, H);
      const Stepped<V> now = step.forward(z, V(p.c[state]), p.first_step + s);
      p.c[state] = now.c.v;
      if (p.cells != nullptr) p.cells[(s + 1) * p.batch * H + state] = now.c.v;
      if (p.gates != nullptr) {
        T* const gates = p.gates + (own.b * p.steps + s) * kGates * H + own.unit;
        for_each_gate(now.gates, [&](int gate, S value) { gates[gate * H] = narrowed<T>(value); });
      }
      return now;
    };
    const auto z_x = [&](const GridCell& own, int gate) {
      return V(widened(p.z_x[((own.b * p.steps + s) * kGates + gate) * H + own.unit]) +
               bias_of(p, gate * H + own.unit));
    };
    const auto hidden = [&](Index row) { return exchange.at(s, row, 0); };

    for_each_sum(items, block.recurrent, hidden, [&](int slice, const GridCell& own) {
      S sums[kGates] = {};
      if (real(own)) {
        const auto found = block.recurrent.gates(own.row, own.column);
        for (int gate = 0; gate < kGates; ++gate) sums[gate] = found.v[gate];
      }
      if (normalized_cell) {
        const Index left = H - static_cast<Index>(slice) * slice_units;
        const int count = kGates * static_cast<int>(left < slice_units ? left : slice_units);
        const bool writes = real(own) && own.column == 0;
        put_moments<slice_units>(recurrent_parts, own.b, slice, writes, sums, real(own), count);
        if (real(own)) {
          for (int gate = 0; gate < kGates; ++gate) waiting.at(own, gate) = sums[gate];
        }
      } else if (real(own)) {
        const auto z = [&](int gate) { return z_x(own, gate) + V(sums[gate]); };
        const Stepped<V> now = run_cell(own, gates_of<V>(z));
        emit(own, now.gates.o, now.made);
      }
    });

    if (normalized_cell) {
      exchange.barrier.meet();
      for_each_place(items, [&](int slice, const GridCell& own) {
        const Moments<V> row = row_moments<slice_units>(recurrent_parts, own.b, in_real_row(own), kGates * H,
                                                        kGates * slice_units, p.norm.epsilon);
        S fresh[1] = {};
        if (real(own)) {
          const Index at = own.b * p.steps + s;
          const auto z = [&](int gate) {
            const V n = normalized(V(waiting.at(own, gate)), row);
            const V gamma(widened(p.norm.gamma_recurrent[gate * H + own.unit]));
            if (p.normalized != nullptr) p.normalized[(kGates * at + gate) * H + own.unit] = narrowed<T>(n.v);
            return fma(n, gamma, z_x(own, gate));
          };
          const Stepped<V> now = run_cell(own, gates_of<V>(z));
          fresh[0] = now.made.v;
          waiting.at(own, 0) = now.made.v;
          waiting.at(own, 1) = now.gates.o.v;
          if (p.moments != nullptr && own.unit == 0) p.moments[3 * at] = row.scale.v;
        }
        const Index left = H - static_cast<Index>(slice) * slice_units;
        put_moments<slice_units>(cell_parts, own.b, slice, real(own) && own.column == 0, fresh, real(own),
                                 static_cast<int>(left < slice_units ? left : slice_units));
      });
      exchange.barrier.meet();
      for_each_place(items, [&](int, const GridCell& own) {
        const Moments<V> row =
            row_moments<slice_units>(cell_parts, own.b, in_real_row(own), H, slice_units, p.norm.epsilon);
        if (!real(own)) return;
        const V n = normalized(V(waiting.at(own, 0)), row);
        const V seen =
            fma(n, V(widened(p.norm.gamma_cell[own.unit])), V(widened(p.norm.beta_cell[own.unit])));
        emit(own, V(waiting.at(own, 1)), seen);
        if (p.moments != nullptr && own.unit == 0) {
          S* const kept = p.moments + 3 * (own.b * p.steps + s);
          kept[1] = row.mean.v;
          kept[2] = row.scale.v;
        }
      });
    }

    if (projected) {
      exchange.barrier.meet();
      const auto cells = [&](Index row) { return block.operand(row, 0); };
      for_each_sum(outputs, block.projection, cells, [&](int, const GridCell& own) {
        if (real(own)) store_hidden(own, s, V(block.projection.sum(own.row, own.column)));
      });
    }
    if (s + 1 < last) exchange.barrier.meet();
  }

  const auto end = [&](const GridCell& own) { end_hidden(p, own, R); };
  if (projected) {
    outputs.for_each_cell(end);
    items.for_each_cell([&](const GridCell& own) {
      for (Index s = own.length; p.m != nullptr && s < p.steps; ++s) {
        p.m[(own.b * p.steps + s) * H + own.unit] = T{};
      }
    });
  } else {
    items.for_each_cell(end);
  }
}

}  // namespace fusedlstm::cuda
