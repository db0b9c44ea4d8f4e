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
  using V = Number<S>;
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
    return output < R && k < 4 * H ? p.recurrent_kernel[output * 4 * H + k] : T{};
  });
  if (projected) {
    Block::take(block.projection, layout.slices, [&](int slice, int column, int k) {
      const Index unit = static_cast<Index>(slice) * width + column;
      return unit < H && k < R ? p.projection[unit * R + k] : T{};
    });
  }
  const ThreadClip<S, WithOptions<S>> clip(maker);
  const Waiting<S> waiting = block.waiting(H);
  const RowParts<S> recurrent_parts = block.parts(0);
  const RowParts<S> cell_parts = block.parts(1);
  S* const kept_states = block.kept_states();

  items.for_each_cell([&](const GridCell& own) {
    p.dc0[own.b * H + own.unit] = p.dc != nullptr ? p.dc[own.b * H + own.unit] : S(0);
    for (Index s = own.length; s < p.steps; ++s) {
      for (int gate = 0; gate < 4; ++gate) {
        const Index at = ((own.b * p.steps + s) * 4 + gate) * H + own.unit;
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

  const auto from_next = [&](const GridCell& own) {
    S dh = block.recurrent.sum(own.row, own.column);
    const Index state = own.b * R + own.unit;
    if (p.recurrent_mask != nullptr) dh *= widened(p.recurrent_mask[state]);
    if (maker.options.zoneout.h > 0) dh += kept_states[state];
    return dh;
  };
  // The gradient of a row's last hidden state, with what was given where y repeats it.
  const auto last_dh = [&](const GridCell& own) {
    S dh = p.dh != nullptr ? widened(p.dh[own.b * R + own.unit]) : S(0);
    for (Index s = p.steps - 1; p.dy != nullptr && !p.zero_padding && s >= own.length; --s) {
      dh += widened(p.dy[(own.b * p.steps + s) * R + own.unit]);
    }
    return dh;
  };
  const int last = items.longest();

  for (int s = last - 1; s >= 0; --s) {
    const auto real = [&](const GridCell& own) { return own.exists && s < own.length; };
    const auto in_real_row = [&](const GridCell& own) { return own.in_row && s < own.length; };
    // What goes to the step's own h, before zoneout.
    const auto to_hidden = [&](const GridCell& own) {
      const Index at = (own.b * p.steps + s) * R + own.unit;
      S dh = s + 1 < own.length ? from_next(own) : last_dh(own);
      if (p.dy != nullptr) dh += widened(p.dy[at]);
      V to_h(dh);
      const UnitZoneout<S, WithOptions<S>> zoneout(maker, own.b, own.unit);
      if (zoneout.keeps(ZonedState::h)) {
        const KeptShare<V> share = zoneout.at(ZonedState::h, p.first_step + s);
        kept_states[own.b * R + own.unit] = share.to_previous(to_h).v;
        to_h = share.to_fresh(to_h);
      }
      return to_h;
    };
    // The step's cell as forward had it, before zoneout.
    const auto taped = [&](const GridCell& own, V& c_prev, V& c) {
      const Index state = own.b * H + own.unit;
      const T* const from = p.gates + (own.b * p.steps + s) * 4 * H + own.unit;
      const Gates<V> gates{V(widened(from[0])), V(widened(from[H])), V(widened(from[2 * H])),
                           V(widened(from[3 * H]))};
      c_prev = V(p.cells[s * p.batch * H + state]);
      c = maker.options.zoneout.c > 0 ? new_cell(maker.cell(own.unit, H), gates.i, gates.f, gates.g, c_prev)
                                      : V(p.cells[(s + 1) * p.batch * H + state]);
      return gates;
    };
    // Through c and the gates to their pre-activations, from the gradients of o's and of c as it made h.
    const auto through_cell = [&](const GridCell& own, const Gates<V>& gates, V c_prev, V c, V dz_o, V to_c) {
      const Index state = own.b * H + own.unit;
      auto cell = maker.cell(own.unit, H);
      clip.give(cell);
      V dc(p.dc0[state]);
      V kept(0);
      const UnitZoneout<S, WithOptions<S>> zoneout(maker, own.b, own.unit);
      if (zoneout.keeps(ZonedState::c)) {
        const KeptShare<V> share = zoneout.at(ZonedState::c, p.first_step + s);
        kept = share.to_previous(dc);
        dc = share.to_fresh(dc);
      }
      const CellGradients<V> d = update_backward(cell, gates, c_prev, c, dz_o, to_c + dc);
      p.dc0[state] = zoneout.keeps(ZonedState::c) ? (d.c_prev + kept).v : d.c_prev.v;
      if (p.dpeepholes != nullptr) {
        S* const sums = p.dpeepholes + 3 * own.b * H + own.unit;
        sums[0] = ::fma(d.z.i.v, c_prev.v, sums[0]);
        sums[H] = ::fma(d.z.f.v, c_prev.v, sums[H]);
        sums[2 * H] = ::fma(d.z.o.v, c.v, sums[2 * H]);
      }
      return d.z;
    };
    // What o and the value that is seen of c get of the gradient of o output(seen).
    const auto through_output = [&](const GridCell& own, V o, V seen, V dh, V& dz_o) {
      auto cell = maker.cell(own.unit, H);
      clip.give(cell);
      const V output = cell.output(seen);
      dz_o = dh * output * cell.gate_slope(o);
      return dh * o * cell.output_slope(output);
    };
    const auto store_gradients = [&](const GridCell& own, const Gates<V>& dz, T* operand) {
      T* const gates = p.gates + (own.b * p.steps + s) * 4 * H + own.unit;
      const V all[4] = {dz.i, dz.f, dz.g, dz.o};
      for (int gate = 0; gate < 4; ++gate) {
        const T stored = narrowed<T>(all[gate].v);
        gates[gate * H] = stored;
        if (operand != nullptr) operand[gate * H] = F::operand(widened(stored));
      }
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
          const V all[4] = {dz.i, dz.f, dz.g, dz.o};
          S* const sums = p.dnorm + 6 * own.b * H + own.unit;
          for (int gate = 0; gate < 4; ++gate) {
            const Index at = ((own.b * p.steps + s) * 4 + gate) * H + own.unit;
            const S n_recurrent = widened(p.normalized[at]);
            const S d = all[gate].v * widened(p.norm.gamma_recurrent[gate * H + own.unit]);
            sums[gate * H] = ::fma(all[gate].v, n_recurrent, sums[gate * H]);
            waiting.at(own, gate) = d;
            dn += d;
            n_dn = ::fma(n_recurrent, d, n_dn);
          }
        }
        put_sums<width>(recurrent_parts, own.b, slice, real(own) && own.column == 0, dn, n_dn);
      });
      exchange.barrier.meet();
      for_each_place(items, [&](int, const GridCell& own) {
        const GradientMeans<V> means = row_means<width>(recurrent_parts, own.b, in_real_row(own), 4 * H);
        if (!real(own)) return;
        const V scale(p.moments[3 * (own.b * p.steps + s)]);
        for (int gate = 0; gate < 4; ++gate) {
          T& place = p.normalized[((own.b * p.steps + s) * 4 + gate) * H + own.unit];
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
    p.dh0[own.b * R + own.unit] = narrowed<T>(own.length > 0 ? from_next(own) : last_dh(own));
  };
  if (last > 0) {
    for_each_sum(outputs, block.recurrent, [&](Index row) { return exchange.at(0, row, 0); }, finish);
  } else {
    for_each_place(outputs, finish);
  }
}

}  // namespace fusedlstm::cuda
