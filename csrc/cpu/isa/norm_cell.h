// The layer-normalized cell, a row at a time: the products x W and h U of a whole row are normalized before
// the cell runs, and its c before it becomes h, so that the row waits in cache until all of its units are
// there. Backward goes the same way back.
#pragma once

#include "backward.h"
#include "forward.h"
#include "layer_norm.h"

namespace fusedlstm::FUSEDLSTM_ISA {

// A row's pieces of the two tapes lie too far apart for the processor to foresee: the next row's are asked
// for while this one is computed.
template <class T>
[[gnu::always_inline]] inline void prefetch_next_row(const NormTape<T>& norm, const T* gates, Index place) {
  for (Index j = 1; j <= kGates; ++j) {
    const Index next = place + Tile<T>::columns + (j - 1) * Vec<T>::width;
    __builtin_prefetch(norm.input + next, 1);
    __builtin_prefetch(gates + next, 1);
  }
}

// Calls body(panel, first unit, lanes) for the panels of a row.
template <class T, class Body>
[[gnu::always_inline]] inline void for_each_unit_panel(Index units, const Body& body) {
  using V = Vec<T>;
  Index panel = 0;
  for (; (panel + 1) * V::width <= units; ++panel) body(panel, panel * V::width, AllLanes{});
  if (panel * V::width < units) body(panel, panel * V::width, units - panel * V::width);
}

template <bool with_options, class T, class Lanes>
[[gnu::always_inline]] inline auto cell_of(const CellOptions<T>* options, Index units, Index unit,
                                           Lanes lanes, const ClipEnds<Vec<T>>* ends = nullptr) {
  if constexpr (with_options) {
    return option_cell(*options, units, unit, lanes, ends);
  } else {
    return PlainCell{};
  }
}

template <class T>
[[gnu::always_inline]] inline Moments<Vec<T>> moments_of(const PanelRow<T>& row, Index units, T epsilon) {
  using V = Vec<T>;
  return moments<T>(kGates * units, epsilon, [&](const auto& body) FUSEDLSTM_INLINE {
    for_each_unit_panel<T>(units, [&](Index panel, Index, auto lanes) FUSEDLSTM_INLINE {
      for (int j = 0; j < kGates; ++j) body(j, V::load(row.piece(panel) + j * V::width), lanes);
    });
  });
}

// The four pre-activations of a panel, which starts at `unit`, from the normalized products.
template <class T, class Lanes>
[[gnu::always_inline]] inline Gates<Vec<T>> norm_preactivations(const LayerNorm<T>& norm, const T* bias,
                                                                const Vec<T> (&n_input)[kGates],
                                                                const Vec<T> (&n_recurrent)[kGates],
                                                                Index units, Index unit, Lanes lanes) {
  using V = Vec<T>;
  V z[kGates];
  for (int j = 0; j < kGates; ++j) {
    z[j] = fma(n_recurrent[j], V::load(norm.gamma_recurrent + j * units + unit, lanes),
               V::load(bias + kGates * unit + j * V::width));
    z[j] = fma(n_input[j], V::load(norm.gamma_input + j * units + unit, lanes), z[j]);
  }
  return {z[0], z[1], z[2], z[3]};
}

// Row b at step s, from its products x W and h U, the second of which is overwritten.
template <bool with_options, class T>
[[gnu::noinline]] void run_norm_cells(const ForwardProblem<T>& p, const T* bias, const PanelRow<T>& input,
                                      const PanelRow<T>& recurrent, Index b, Index s) {
  using V = Vec<T>;
  const LayerNorm<T> norm = *p.layer_norm;
  const Index H = p.sizes.units;
  const GateTape layout(p.timeline.steps, p.sizes.batch, V::width);
  const Moments<V> of_input = moments_of(input, H, norm.epsilon);
  const Moments<V> of_recurrent = moments_of(recurrent, H, norm.epsilon);
  const T* previous = p.cells + s * p.cells_step + b * H;
  T* next = p.cells + (s + 1) * p.cells_step + b * H;
  const bool on_tape = p.gates != nullptr;
  const bool keeps_c = with_options && p.options->zoneout.c > 0;
  for_each_unit_panel<T>(H, [&](Index panel, Index unit, auto lanes) FUSEDLSTM_INLINE {
    const Index place = on_tape ? layout.place(panel, s, b) : 0;
    if (on_tape) prefetch_next_row(p.norm, p.gates, place);
    V n_input[kGates];
    V n_recurrent[kGates];
    for (int j = 0; j < kGates; ++j) {
      n_input[j] = within(normalized(V::load(input.piece(panel) + j * V::width), of_input), lanes);
      n_recurrent[j] =
          within(normalized(V::load(recurrent.piece(panel) + j * V::width), of_recurrent), lanes);
      if (on_tape) {
        n_input[j].store(p.norm.input + place + j * V::width);
        n_recurrent[j].store(p.gates + place + j * V::width);
      }
    }
    const Gates<V> z = norm_preactivations(norm, bias, n_input, n_recurrent, H, unit, lanes);
    const auto cell = cell_of<with_options>(p.options, H, unit, lanes);
    const V c_prev = V::load(previous + unit, lanes);
    const CellValues<V> values = cell_forward(cell, z, c_prev);
    values.c.store(next + unit, lanes);
    T* waiting = recurrent.piece(panel);
    values.gates.o.store(waiting);
    if (keeps_c) c_prev.store(waiting + V::width);
  });
  const Moments<V> of_cell = moments_of(next, H, norm.epsilon);
  if (on_tape) {
    T* kept = p.norm.moments + 4 * (s * p.sizes.batch + b);
    of_input.scale.store(kept, 1);
    of_recurrent.scale.store(kept + 1, 1);
    of_cell.mean.store(kept + 2, 1);
    of_cell.scale.store(kept + 3, 1);
  }
  for_each_unit_panel<T>(H, [&](Index panel, Index unit, auto lanes) FUSEDLSTM_INLINE {
    const V c = V::load(next + unit, lanes);
    const V gamma = V::load(norm.gamma_cell + unit, lanes);
    const V seen = fma(normalized(c, of_cell), gamma, V::load(norm.beta_cell + unit, lanes));
    const auto cell = cell_of<with_options>(p.options, H, unit, lanes);
    const T* waiting = recurrent.piece(panel);
    const V h = hidden_state(cell, V::load(waiting), seen);
    if (p.m) {
      h.store(p.m.at(p.timeline, b, s) + unit, lanes);
    } else {
      store_hidden<with_options>(p, h, b, s, unit, lanes);
    }
    if (keeps_c) {
      const RowZoneout<T> zoneout(p.options->zoneout, ZonedState::c, b, p.timeline.offset + s);
      zoneout.of(unit).mixed(V::load(waiting + V::width), c).store(next + unit, lanes);
    }
  });
}

// Gradients of row b at step s. `dh` is what comes back through the recurrence, a vector of each panel of
// units after the other, and is overwritten; `scratch` has norm_scratch vectors of each panel of units.
// `last`: of the row's steps.
template <bool with_options, class T>
[[gnu::noinline]] void run_norm_gradients(const BackwardProblem<T>& p, const PanelRow<T>& dh, T* scratch,
                                          Index b, Index s, bool last) {
  using V = Vec<T>;
  const LayerNorm<T> norm = *p.layer_norm;
  const Index B = p.sizes.batch;
  const Index H = p.sizes.units;
  const GateTape layout(p.timeline.steps, B, V::width);
  const T* kept = p.norm.moments + 4 * (s * B + b);
  const V input_scale(kept[0]);
  const V recurrent_scale(kept[1]);
  const Moments<V> of_cell{V(kept[2]), V(kept[3])};
  const HiddenGradient<with_options, T> hidden(p, b, s, last);
  const GateClip<with_options, T> clip(p.options);
  const T* h_now = (p.m ? p.m : p.h).at(p.timeline, b, s);
  const T* c_before = p.cells + (s * B + b) * H;
  T* dc_now = p.dc0 + b * H;
  const Index sums_size = layer_norm_sums(p.options) * V::width;
  T* sums = p.row_sums + b * divide_up(H, V::width) * sums_size;
  if (last) {
    for (Index i = 0; i < divide_up(H, V::width) * sums_size; ++i) sums[i] = T(0);
  }
  const auto add = [&](Index panel, int which, V value) FUSEDLSTM_INLINE {
    T* sum = sums + panel * sums_size + which * V::width;
    (V::load(sum) + value).store(sum);
  };
  const auto own = [&](Index panel) FUSEDLSTM_INLINE { return scratch + panel * norm_scratch * V::width; };

  // The gates and c once more, before zoneout, and through h = o output(gamma n + beta) to the normalized c.
  RowSum<T> sum_dn;
  RowSum<T> sum_n_dn;
  for_each_unit_panel<T>(H, [&](Index panel, Index unit, auto lanes) FUSEDLSTM_INLINE {
    const Index place = layout.place(panel, s, b);
    prefetch_next_row(p.norm, p.gates, place);
    const auto cell = cell_of<with_options>(p.options, H, unit, lanes, clip.ends());
    V n_input[kGates];
    V n_recurrent[kGates];
    for (int j = 0; j < kGates; ++j) {
      n_input[j] = V::load(p.norm.input + place + j * V::width);
      n_recurrent[j] = V::load(p.activated + place + j * V::width);
    }
    const Gates<V> z = norm_preactivations(norm, p.bias, n_input, n_recurrent, H, unit, lanes);
    const auto [gates, c] = cell_forward(cell, z, V::load(c_before + unit, lanes));
    T* row = own(panel);
    gates.i.store(row);
    gates.f.store(row + V::width);
    gates.g.store(row + 2 * V::width);
    gates.o.store(row + 3 * V::width);
    c.store(row + kGates * V::width);

    T* piece = dh.piece(panel / kGates) + panel % kGates * V::width;
    V dh_total = V::load(piece);
    if (!p.m) dh_total = hidden(dh_total, unit, lanes);
    const V n = within(normalized(c, of_cell), lanes);
    const V gamma = V::load(norm.gamma_cell + unit, lanes);
    const V seen = fma(n, gamma, V::load(norm.beta_cell + unit, lanes));
    const V output = cell.output_of_step(seen, gates.o, V::load(h_now + unit, lanes));
    (dh_total * output * cell.gate_slope(gates.o)).store(piece);
    const V d_seen = dh_total * gates.o * cell.output_slope(output);
    add(panel, NormSums::gamma_cell, d_seen * n);
    add(panel, NormSums::beta_cell, d_seen);
    const V d = d_seen * gamma;
    d.store(row + 5 * V::width);
    sum_dn.part[0] = sum_dn.part[0] + d;
    sum_n_dn.part[0] = fma(n, d, sum_n_dn.part[0]);
  });
  const T cell_share = T(1) / static_cast<T>(H);
  const GradientMeans<V> cell_means{V(sum_dn.total() * cell_share), V(sum_n_dn.total() * cell_share)};

  // Through c and the gates to their pre-activations.
  const bool keeps_c = with_options && p.options->zoneout.c > 0;
  const RowZoneout<T> zoneout(keeps_c ? p.options->zoneout : Zoneout{}, ZonedState::c, b,
                              p.timeline.offset + s);
  RowSum<T> input_dn;
  RowSum<T> input_n_dn;
  RowSum<T> recurrent_dn;
  RowSum<T> recurrent_n_dn;
  for_each_unit_panel<T>(H, [&](Index panel, Index unit, auto lanes) FUSEDLSTM_INLINE {
    const auto cell = cell_of<with_options>(p.options, H, unit, lanes, clip.ends());
    T* row = own(panel);
    const Gates<V> gates{V::load(row), V::load(row + V::width), V::load(row + 2 * V::width),
                         V::load(row + 3 * V::width)};
    const V c_prev = V::load(c_before + unit, lanes);
    const V c = V::load(row + kGates * V::width);
    const V n = within(normalized(c, of_cell), lanes);
    const V dn = V::load(row + 5 * V::width);
    const V through = within(through_norm(dn, n, of_cell.scale, cell_means), lanes);
    const V dz_o = V::load(dh.piece(panel / kGates) + panel % kGates * V::width);
    V dc = V::load(dc_now + unit, lanes);
    V to_previous(0);
    if (keeps_c) {
      to_previous = zoneout.of(unit).to_previous(dc);
      dc = zoneout.of(unit).to_fresh(dc);
    }
    const CellGradients<V> d = update_backward(cell, gates, c_prev, c, dz_o, through + dc);
    (keeps_c ? d.c_prev + to_previous : d.c_prev).store(dc_now + unit, lanes);
    if (with_options && p.options->peepholes != nullptr) {
      add(panel, NormSums::peepholes, d.z.i * c_prev);
      add(panel, NormSums::peepholes + 1, d.z.f * c_prev);
      add(panel, NormSums::peepholes + 2, d.z.o * c);
    }
    const Index place = layout.place(panel, s, b);
    const V dz[kGates] = {d.z.i, d.z.f, d.z.g, d.z.o};
    for (int j = 0; j < kGates; ++j) {
      const V n_input = V::load(p.norm.input + place + j * V::width);
      const V n_recurrent = V::load(p.activated + place + j * V::width);
      dz[j].store(row + j * V::width);
      add(panel, NormSums::bias + j, dz[j]);
      add(panel, NormSums::gamma_input + j, dz[j] * n_input);
      add(panel, NormSums::gamma_recurrent + j, dz[j] * n_recurrent);
      const V d_input = dz[j] * V::load(norm.gamma_input + j * H + unit, lanes);
      const V d_recurrent = dz[j] * V::load(norm.gamma_recurrent + j * H + unit, lanes);
      input_dn.part[j] = input_dn.part[j] + d_input;
      input_n_dn.part[j] = fma(n_input, d_input, input_n_dn.part[j]);
      recurrent_dn.part[j] = recurrent_dn.part[j] + d_recurrent;
      recurrent_n_dn.part[j] = fma(n_recurrent, d_recurrent, recurrent_n_dn.part[j]);
    }
  });

  // To the two products.
  const T share = cell_share * T(0.25);
  const GradientMeans<V> input_means{V(input_dn.total() * share), V(input_n_dn.total() * share)};
  const GradientMeans<V> recurrent_means{V(recurrent_dn.total() * share), V(recurrent_n_dn.total() * share)};
  for_each_unit_panel<T>(H, [&](Index panel, Index unit, auto lanes) FUSEDLSTM_INLINE {
    const Index place = layout.place(panel, s, b);
    for (int j = 0; j < kGates; ++j) {
      T* input = p.norm.input + place + j * V::width;
      const V dz = V::load(own(panel) + j * V::width);
      const V n_input = V::load(input);
      const V n_recurrent = V::load(p.activated + place + j * V::width);
      const V d_input = dz * V::load(norm.gamma_input + j * H + unit, lanes);
      const V d_recurrent = dz * V::load(norm.gamma_recurrent + j * H + unit, lanes);
      within(through_norm(d_input, n_input, input_scale, input_means), lanes).store(input);
      within(through_norm(d_recurrent, n_recurrent, recurrent_scale, recurrent_means), lanes)
          .store(p.gates + place + j * V::width);
    }
  });
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
