// The backward kernel of staged_sequence.h.
#pragma once

#include "staged.cuh"

namespace fusedlstm::cuda {

template <class F>
__global__ void __launch_bounds__(grid_threads, 1)
    staged_backward_kernel(const __grid_constant__ SequenceBackward<typename F::Number> p,
                           const __grid_constant__ StagedLayout layout, unsigned char* workspace,
                           const __grid_constant__ WithOptions<StateOf<typename F::Number>> maker) {
  using T = typename F::Number;
  using S = StateOf<T>;
  using Maker = WithOptions<S>;
  using V = CellNumber<T, Maker>;
  using Block = StagedBlock<F, Direction::backward>;
  constexpr int width = Block::slice_units;
  static_assert(width == 32, "a warp has a row's slice");
  // Constants of the launch: stages cost more than to ask for them.
  const bool normalized_cell = p.norm.gamma_recurrent != nullptr;
  const bool projected = p.projection != nullptr;
  const Index H = p.units;
  const Index R = projected ? p.outputs : H;
  const OutputColumns columns{p.batch, p.steps, R, p.lengths};
  const OutputSlices slices{projected ? layout.output_slices : layout.slices, layout.rows};
  const GridItems<width, typename Block::Multiply, SequenceBackward<T>> items(layout, p,
                                                                              layout.recurrent.groups);
  const GridItems<width, typename Block::Multiply, OutputColumns> outputs(slices, columns,
                                                                          layout.recurrent.groups);
  GridExchange<F, StagedLayout> exchange(layout, layout.recurrent.pitch, workspace);
  Block block(layout, workspace);
  Block::take(block.recurrent, slices.slices, [&](int slice, int column, int k) {
    const Index output = static_cast<Index>(slice) * width + column;
    return output < R && k < kGates * H ? p.recurrent_kernel[output * kGates * H + k] : T{};
  });
  if (projected) {
    Block::take(block.projection, layout.slices, [&](int slice, int column, int k) {
      const Index unit = static_cast<Index>(slice) * width + column;
      return unit < H && k < R ? p.projection[unit * R + k] : T{};
    });
  }
  const ThreadClip<V, Maker> clip(maker);
  const Waiting<S> waiting = block.waiting(H);
  const RowParts<S> recurrent_parts = block.parts(0);
  const RowParts<S> cell_parts = block.parts(1);
  S* const kept_states = block.kept_states();

  items.for_each_cell([&](const GridCell& own) {
    p.dc0[own.b * H + own.unit] = p.dc != nullptr ? p.dc[own.b * H + own.unit] : S(0);
    for (Index s = own.length; s < p.steps; ++s) {
      for (int gate = 0; gate < kGates; ++gate) {
        const Index at = ((own.b * p.steps + s) * kGates + gate) * H + own.unit;
        p.gates[at] = T{};
        if (normalized_cell) p.normalized[at] = T{};
      }
    }
    for (int i = 0; p.dpeepholes != nullptr && i < 3; ++i) {
      p.dpeepholes[(3 * own.b + i) * H + own.unit] = S(0);
    }
    for (int i = 0; normalized_cell && i < 6; ++i) p.dnorm[(6 * own.b + i) * H + own.unit] = S(0);
  });
  if (projected) {
    outputs.for_each_cell([&](const GridCell& own) {
      for (Index s = own.length; s < p.steps; ++s) p.dprojected[(own.b * p.steps + s) * R + own.unit] = T{};
    });
  }

  const auto dh_of = [&](const GridCell& own, int s) {
    return dh_after(p, maker, own, R, s, kept_states,
                    [&] { return block.recurrent.sum(own.row, own.column); });
  };
  const int last = items.longest();
  const auto step_of = [&](const GridCell& own) { return Step<V, Maker>(maker, clip, own.b, own.unit, H); };

  for (int s = last - 1; s >= 0; --s) {
    const auto real = [&](const GridCell& own) { return own.exists && s < own.length; };
    const auto in_real_row = [&](const GridCell& own) { return own.in_row && s < own.length; };
    // The gradient of the step's h before zoneout.
    const auto to_hidden = [&](const GridCell& own) {
      const Index at = (own.b * p.steps + s) * R + own.unit;
      S dh = dh_of(own, s);
      if (p.dy != nullptr) dh += widened(p.dy[at]);
      const UnitZoneout<V, Maker> zoneout(maker, own.b, own.unit);
      const Parts<V> parts = zoneout.parts(ZonedState::h, p.first_step + s, V(dh));
      if (zoneout.keeps(ZonedState::h)) kept_states[own.b * R + own.unit] = parts.previous.v;
      return parts.fresh;
    };
    // The step's cell as forward had it, before zoneout.
    const auto taped = [&](const GridCell& own, V& c_prev, V& c) {
      const Index state = own.b * H + own.unit;
      const T* const from = p.gates + (own.b * p.steps + s) * kGates * H + own.unit;
      const Gates<V> gates = gates_of<V>([&](int gate) { return widened(from[gate * H]); });
      c_prev = V(p.cells[s * p.batch * H + state]);
      c = step_of(own).made_c(gates, c_prev, V(p.cells[(s + 1) * p.batch * H + state]));
      return gates;
    };
    // Through c and the gates to their pre-activations, from the gradients of o's and of c as it made h.
    const auto through_cell = [&](const GridCell& own, const Gates<V>& gates, V c_prev, V c, V dz_o, V to_c) {
      S& dc = p.dc0[own.b * H + own.unit];
      const Step<V, Maker> step = step_of(own);
      const CellGradients<V> d = step.through_c(V(dc), p.first_step + s, [&](V fresh) {
        return update_backward(step.cell(), gates, c_prev, c, dz_o, to_c + fresh);
      });
      dc = d.c_prev.v;
      if (p.dpeepholes != nullptr) {
        S* const sums = p.dpeepholes + 3 * own.b * H + own.unit;
        add_peepholes(d.z, c_prev, c, [&](int i) -> S& { return sums[i * H]; });
      }
      return d.z;
    };
    // The gradients of o's pre-activation and of `seen`, the value that is seen of c, from that of o
    // output(seen).
    const auto through_output = [&](const GridCell& own, V o, V seen, V dh, V& dz_o) {
      const Step<V, Maker> step = step_of(own);
      const V output = step.cell().output(seen);
      dz_o = dh * output * step.cell().gate_slope(o);
      return dh * o * step.cell().output_slope(output);
    };
    const auto store_gradients = [&](const GridCell& own, const Gates<V>& dz, T* operand) {
      T* const gates = p.gates + (own.b * p.steps + s) * kGates * H + own.unit;
      for_each_gate(dz, [&](int gate, S value) {
        const T stored = narrowed<T>(value);
        gates[gate * H] = stored;
        if (operand != nullptr) operand[gate * H] = F::operand(widened(stored));
      });
    };

    // From the gradient of o output(c), the first stage of a normalized cell or all of a plain one.
    const auto run_cell = [&](int slice, const GridCell& own, V dh) {
      V c_prev(0);
      V c(0);
      V d(0);
      V n(0);
      if (real(own)) {
        const Gates<V> gates = taped(own, c_prev, c);
        V dz_o(0);
        if (normalized_cell) {
          const S* const kept = p.moments + 3 * (own.b * p.steps + s);
          n = normalized(c, Moments<V>{V(kept[1]), V(kept[2])});
          const V gamma(widened(p.norm.gamma_cell[own.unit]));
          const V seen = fma(n, gamma, V(widened(p.norm.beta_cell[own.unit])));
          const V d_seen = through_output(own, gates.o, seen, dh, dz_o);
          S* const sums = p.dnorm + 6 * own.b * H + own.unit;
          sums[4 * H] = ::fma(d_seen.v, n.v, sums[4 * H]);
          sums[5 * H] += d_seen.v;
          d = d_seen * gamma;
          waiting.at(own, 0) = dz_o.v;
          waiting.at(own, 1) = d.v;
        } else {
          const V to_c = through_output(own, gates.o, c, dh, dz_o);
          store_gradients(own, through_cell(own, gates, c_prev, c, dz_o, to_c),
                          exchange.at(s, own.b, own.unit));
        }
      }
      if (normalized_cell) {
        put_sums<width>(cell_parts, own.b, slice, real(own) && own.column == 0, d.v, (n * d).v);
      }
    };

    const auto gradients = [&](Index row) { return exchange.at(s + 1, row, 0); };
    const auto take_hidden = [&](int slice, const GridCell& own) {
      V dh(0);
      if (real(own)) dh = to_hidden(own);
      if (projected) {
        if (!real(own)) return;
        const T stored = narrowed<T>(dh.v);
        p.dprojected[(own.b * p.steps + s) * R + own.unit] = stored;
        *block.operand(own.b, own.unit) = F::operand(widened(stored));
      } else {
        run_cell(slice, own, dh);
      }
    };
    if (s + 1 < last) {
      for_each_sum(outputs, block.recurrent, gradients, take_hidden);
    } else {
      for_each_place(outputs, take_hidden);
    }
    if (projected) {
      exchange.barrier.meet();
      const auto hidden = [&](Index row) { return block.operand(row, 0); };
      for_each_sum(items, block.projection, hidden, [&](int slice, const GridCell& own) {
        run_cell(slice, own, V(real(own) ? block.projection.sum(own.row, own.column) : S(0)));
      });
    }

    if (normalized_cell) {
      exchange.barrier.meet();
      for_each_place(items, [&](int slice, const GridCell& own) {
        const GradientMeans<V> means = row_means<width>(cell_parts, own.b, in_real_row(own), H);
        S dn(0);
        S n_dn(0);
        if (real(own)) {
          V c_prev(0);
          V c(0);
          const Gates<V> gates = taped(own, c_prev, c);
          const S* const kept = p.moments + 3 * (own.b * p.steps + s);
          const V n = normalized(c, Moments<V>{V(kept[1]), V(kept[2])});
          const V to_c = through_norm(V(waiting.at(own, 1)), n, V(kept[2]), means);
          const Gates<V> dz = through_cell(own, gates, c_prev, c, V(waiting.at(own, 0)), to_c);
          store_gradients(own, dz, nullptr);
          S* const sums = p.dnorm + 6 * own.b * H + own.unit;
          for_each_gate(dz, [&](int gate, S value) {
            const Index at = ((own.b * p.steps + s) * kGates + gate) * H + own.unit;
            const S n_recurrent = widened(p.normalized[at]);
            const S d = value * widened(p.norm.gamma_recurrent[gate * H + own.unit]);
            sums[gate * H] = ::fma(value, n_recurrent, sums[gate * H]);
            waiting.at(own, gate) = d;
            dn += d;
            n_dn = ::fma(n_recurrent, d, n_dn);
          });
        }
        put_sums<width>(recurrent_parts, own.b, slice, real(own) && own.column == 0, dn, n_dn);
      });
      exchange.barrier.meet();
      for_each_place(items, [&](int, const GridCell& own) {
        const GradientMeans<V> means = row_means<width>(recurrent_parts, own.b, in_real_row(own), kGates * H);
        if (!real(own)) return;
        const V scale(p.moments[3 * (own.b * p.steps + s)]);
        for (int gate = 0; gate < kGates; ++gate) {
          T& place = p.normalized[((own.b * p.steps + s) * kGates + gate) * H + own.unit];
          const V d = through_norm(V(waiting.at(own, gate)), V(widened(place)), scale, means);
          place = narrowed<T>(d.v);
          *exchange.at(s, own.b, gate * H + own.unit) = F::operand(widened(place));
        }
      });
    }
    exchange.barrier.meet();
  }

  const auto finish = [&](int, const GridCell& own) {
    if (!own.exists) return;
    p.dh0[own.b * R + own.unit] = narrowed<T>(dh_of(own, -1));
  };
  if (last > 0) {
    for_each_sum(outputs, block.recurrent, [&](Index row) { return exchange.at(0, row, 0); }, finish);
  } else {
    for_each_place(outputs, finish);
  }
}

}  // namespace fusedlstm::cuda
