// The sequence, backward through time: one thread's share.
#pragma once

#include "../../math/cell.h"
#include "../kernels.h"
#include "denormals.h"
#include "forward.h"
#include "gemm.h"
#include "hidden.h"
#include "projection.h"
#include "rounding.h"
#include "vec_math.h"

namespace fusedlstm::FUSEDLSTM_ISA {

// The ends of what a gate_clip lets through, computed once for many cells.
template <bool with_options, class T>
class GateClip {
 public:
  [[gnu::always_inline]] explicit GateClip(const CellOptions<T>* options) {
    if constexpr (with_options) {
      given_ = options->gate_clip > T(0);
      if (given_) ends_ = clip_ends<Vec<T>>(*options);
    }
  }
  // Null without a gate_clip.
  [[gnu::always_inline]] const ClipEnds<Vec<T>>* ends() const { return given_ ? &ends_ : nullptr; }

 private:
  bool given_ = false;
  ClipEnds<Vec<T>> ends_;
};

// Gate gradients of one row and one vector of units at step s, from the gradient of o tanh(c) in a register.
template <class T, class Cell, class Lanes>
[[gnu::always_inline]] inline void finish_gradients(const BackwardProblem<T>& p, const GateTape& layout,
                                                    const Cell& cell, Vec<T> dh, Index b, Index s, Index unit,
                                                    Lanes lanes) {
  using V = Vec<T>;
  const Index B = p.sizes.batch;
  const Index H = p.sizes.units;
  T* tape = p.gates + layout.place(unit / V::width, s, b);
  T* dc = p.dc0 + b * H + unit;
  const V c_prev = V::load(p.cells + (s * B + b) * H + unit, lanes);
  const V c = V::load(p.cells + ((s + 1) * B + b) * H + unit, lanes);
  const V h = V::load((p.m ? p.m : p.h).at(p.timeline, b, s) + unit, lanes);
  const T* activated = p.activated + layout.place(unit / V::width, s, b);
  const Gates<V> gates{V::load(activated), V::load(activated + V::width), V::load(activated + 2 * V::width),
                       V::load(activated + 3 * V::width)};
  const bool zoned = Cell::has_options && p.options->zoneout.c > 0;
  // The cell's own state and its activation; with zoneout the tape has a mixture with the one before.
  V own = c;
  V activated_c(0);
  V dc_own = V::load(dc, lanes);
  V dc_kept(0);
  if (zoned) {
    const RowZoneout<T> zoneout(p.options->zoneout, ZonedState::c, b, p.timeline.offset + s);
    const KeptShare<V> share = zoneout.of(unit);
    own = new_cell(cell, gates.i, gates.f, gates.g, c_prev);
    if (p.new_cells != nullptr) own.store(p.new_cells + (s * B + b) * H + unit, lanes);
    activated_c = cell.output(own);
    dc_kept = share.to_previous(dc_own);
    dc_own = share.to_fresh(dc_own);
  } else {
    activated_c = cell.output_of_step(c, gates.o, h);
  }
  CellGradients<V> d = cell_backward(cell, gates, c_prev, own, activated_c, dh, dc_own);
  if (zoned) d.c_prev = d.c_prev + dc_kept;
  if (!zoned && p.dh_steps != nullptr) {
    dh.store(p.dh_steps + (s * B + b) * H + unit, lanes);
    d.c.store(p.dc_steps + (s * B + b) * H + unit, lanes);
  }
  d.z.i.store(tape);
  d.z.f.store(tape + V::width);
  d.z.g.store(tape + 2 * V::width);
  d.z.o.store(tape + 3 * V::width);
  d.c_prev.store(dc, lanes);
}

// Asks for what the epilogue of a tile will read of the tape and of dy, before the tile's product, which
// leaves time for it to come: steps lie megabytes apart, and caches do not hold all of them until backward is
// there.
template <class T>
[[gnu::always_inline]] inline void prefetch_tape(const BackwardProblem<T>& p, const GateTape& layout,
                                                 const Index* rows, Index count, Index s, Index panel) {
  using V = Vec<T>;
  constexpr Index line = 64 / Index{sizeof(T)};
  const Index H = p.sizes.units;
  const Index begin = panel * Tile<T>::columns;
  const Index end = smaller(begin + Tile<T>::columns, H);
  for (Index r = 0; r < count; ++r) {
    const Index b = rows[r];
    for (Index unit = begin; unit < end; unit += V::width) {
      const Index place = layout.place(unit / V::width, s, b);
      for (Index i = place; i < place + layout.columns; i += line) __builtin_prefetch(p.gates + i, 1, 2);
      if (p.activated == p.gates) continue;
      for (Index i = place; i < place + layout.columns; i += line) __builtin_prefetch(p.activated + i, 0, 2);
    }
    const T* cells = p.cells + (s * p.sizes.batch + b) * H;
    const T* h = (p.m ? p.m : p.h).at(p.timeline, b, s);
    const T* dy = p.dy && !p.m ? p.dy.at(b, p.timeline.time(b, s)) : h;
    for (Index unit = begin; unit < end; unit += line) {
      __builtin_prefetch(cells + unit, 0, 2);
      __builtin_prefetch(h + unit, 0, 2);
      __builtin_prefetch(dy + unit, 0, 2);
    }
  }
}

// The cells of a pass backward over the sequence; those of tangents are in tangents.h.
template <class T>
struct CellGradientPass {
  using Problem = BackwardProblem<T>;

  template <class Cell, class Lanes>
  [[gnu::always_inline]] static void finish(const Problem& p, const GateTape& layout, const Cell& cell,
                                            Vec<T> dh, Index b, Index s, Index unit, Lanes lanes) {
    finish_gradients(p, layout, cell, dh, b, s, unit, lanes);
  }
};

// The epilogue of a tile of dh: what comes back through the recurrence, the step's own gradient, and the
// cell; or that of a tile of dm, which is for the cell as it is.
template <class Pass, bool with_options, class T>
[[gnu::noinline]] void run_gradients(const typename Pass::Problem& p, const GateTape& layout, const T* sums,
                                     const Index* rows, Index count, Index s, Index panel, bool of_m,
                                     bool last) {
  using V = Vec<T>;
  const Index H = p.sizes.units;
  const GateClip<with_options, T> clip(p.options);
  for (Index r = 0; r < count; ++r, sums += Tile<T>::columns) {
    const Index b = rows[r];
    const HiddenGradient<with_options, T> hidden(p, b, s, last);
    for_each_vector<T>(panel, H, [&](int j, Index unit, auto lanes) FUSEDLSTM_INLINE {
      V dh = V::load(sums + j * V::width);
      if (!of_m) dh = hidden(dh, unit, lanes);
      if constexpr (with_options) {
        Pass::finish(p, layout, option_cell(*p.options, H, unit, lanes, clip.ends()), dh, b, s, unit, lanes);
      } else {
        Pass::finish(p, layout, PlainCell{}, dh, b, s, unit, lanes);
      }
    });
  }
}

// norm_cell.h
template <bool with_options, class T>
void run_norm_gradients(const BackwardProblem<T>& p, const PanelRow<T>& dh, T* scratch, Index b, Index s,
                        bool last);

// dh_s = dy_s + dG_{s+1} U^T and the cell's gradients run as one product with an epilogue, step by step from
// the end; dx = dG W^T follows for `chunk` steps at once while their gate gradients are in cache, with the
// next step. With layer normalization, dh of whole rows comes first, and parts of the units are followed by
// parts of the rows.
template <class T, class Pass = CellGradientPass<T>, class W = T>
void backward(const typename Pass::Problem& p, const TransposedPanels<T, W>& weights,
              const SequenceShare& share, T* scratch, Worker& worker) {
  using V = Vec<T>;
  using Rows = typename Rounding<W>::Rows;
  constexpr bool rounds = row_multiple<W> > 1;
  constexpr Index columns = Tile<T>::columns;
  constexpr Index tile_rows = most_tile_rows<T, W>;
  using Finished = T[tile_rows * columns];
  const FlushDenormals flush;
  const GateTape layout(p.timeline.steps, p.sizes.batch, V::width);
  const GateTape next_layout(1, p.sizes.batch, V::width);
  const Index H = p.sizes.units;
  const Index R = p.sizes.outputs;
  const Index G = divide_up(H, V::width) * columns;  // as on tape, where units fill whole vectors
  // The scratch holds pointers to the chunk's gate gradients and dx; then sums that wait between blocks of K,
  // or else rounded rows, of the chunk and of a step.
  const Index most_rows = share.chunk * share.row_block;
  const T** gate_rows = reinterpret_cast<const T**>(scratch);
  T** dx_rows = reinterpret_cast<T**>(scratch + 2 * most_rows);
  T* partial = scratch + divide_up(4 * most_rows, 16) * 16;
  T* norm_rows = partial + most_rows * columns;
  Rows rounded_chunk{};
  Rows rounded_step{};
  [[maybe_unused]] typename Rounding<W>::Unit multiplier;
  if constexpr (rounds) {
    norm_rows = partial;
    rounded_chunk = Rows::take(norm_rows, most_rows, G);
    rounded_step = Rows::take(norm_rows, share.row_block, G > R ? G : R);
  }
  const auto round = [](Index count, Index K, const auto& left, [[maybe_unused]] const Rows& to)
                         FUSEDLSTM_INLINE {
                           if constexpr (rounds) round_rows(count, K, left, to);
                         };
  // Multiplies rows that `round` has rounded, or, where nothing is rounded, the rows themselves.
  const auto multiply_rows = [partial, &multiplier](Index count, Index K, const auto& left,
                                                    [[maybe_unused]] const Rows& rounded, const W* panels,
                                                    PanelOrder order, const auto& start, const auto& place,
                                                    const auto& finish) FUSEDLSTM_INLINE {
    if constexpr (rounds) {
      static_cast<void>(partial);
      multiply_rounded(multiplier, count, K, rounded, panels, nullptr, order, start, place, finish);
    } else {
      static_cast<void>(multiplier);
      multiply(count, K, left, panels, order, partial, start, place, finish);
    }
  };

  const bool normal = p.layer_norm != nullptr;
  const bool rows_first = normal && !p.m;  // else the projection comes before the rows
  const T* input_gradients = normal ? p.norm.input : p.gates;
  const Index product_rows = norm_panel_rows(share.row_block);
  const auto product = [&](Index r, Index panel)
                           FUSEDLSTM_INLINE { return p.products + (panel * product_rows + r) * columns; };

  const auto from_zero = [](Index, Index) FUSEDLSTM_INLINE { return zeros<T>(); };
  // Gate gradients of batch rows own[] at step s as a left operand: a segment in every gate panel.
  const auto gates_at = [&](Index s, const Index* own) FUSEDLSTM_INLINE {
    const bool inside = s < p.timeline.steps;
    const T* first = inside ? p.gates + layout.place(0, s, 0) : p.next_gates;
    const auto row = [=](Index r) FUSEDLSTM_INLINE { return first + own[r] * columns; };
    return LeftRows<decltype(row)>{row, columns, (inside ? layout : next_layout).panel_size()};
  };

  for (Index row0 = 0; row0 < share.row_count; row0 += share.row_block) {
    const Index* rows = share.rows + row0;
    const Index all_rows = smaller(share.row_block, share.row_count - row0);
    const Index longest = p.timeline.length(rows[0]);
    Index later = 0;    // rows that have a step after s
    Index active = 0;   // rows that have step s
    Index waiting = 0;  // rows whose dx comes with the chunk's last step
    Index due = 0;      // rows whose dx comes with the next phase
    while (later < all_rows && p.timeline.goes_on(rows[later])) ++later;

    const auto run_inputs = [&](int part) {
      alignas(64) Finished finished;
      const auto row = [&](Index r) FUSEDLSTM_INLINE { return gate_rows[r]; };
      const PanelOrder whole{share.part_of(share.input_panels, part)};
      const LeftRows<decltype(row)> left{row, columns, layout.panel_size()};
      round(due, G, left, rounded_chunk);
      in_groups(worker, whole, panel_operations<T>(due, G), [&](PanelOrder order) FUSEDLSTM_INLINE {
        multiply_rows(
            due, G, left, rounded_chunk, weights.input, order, from_zero,
            [&](Index, Index, Index i) FUSEDLSTM_INLINE { return finished + i * columns; },
            [&](Index first, Index panel, Index count, const T* sums) FUSEDLSTM_INLINE {
              for (Index r = 0; r < count; ++r, sums += columns) {
                for_each_vector<T>(panel, p.sizes.inputs,
                                   [&](int j, Index column, auto lanes) FUSEDLSTM_INLINE {
                                     V::load(sums + j * V::width).store(dx_rows[first + r] + column, lanes);
                                   });
              }
            });
      });
    };

    for (Index s = longest - 1; s >= 0; --s) {
      while (active < all_rows && p.timeline.length(rows[active]) > s) ++active;
      if (worker.stopped(active * (p.sizes.inputs + R) * H * 8)) return;

      const auto run_step = [&](int part) {
        if (due > 0) run_inputs(part);
        alignas(64) Finished finished;
        // Rows [later, active) have their last step here: nothing comes back to them but dh.
        const auto run_rows = [&](Range range, bool last) FUSEDLSTM_INLINE {
          const Index* own = rows + range.begin;
          const auto from_zero_soon = [&](Index first, Index panel) FUSEDLSTM_INLINE {
            const Index count = smaller(tile_rows, range.size() - first);
            prefetch_tape(p, layout, own + first, count, s, panel);
            return zeros<T>();
          };
          const PanelOrder whole{share.part_of(share.panels, part), s % 2 != 0};
          const Index K = last ? 0 : G;
          const auto left = gates_at(last ? s : s + 1, own);
          round(range.size(), K, left, rounded_step);
          in_groups(worker, whole, panel_operations<T>(range.size(), G),
                    [&](PanelOrder order) FUSEDLSTM_INLINE {
                      multiply_rows(
                          range.size(), K, left, rounded_step, weights.recurrent, order, from_zero_soon,
                          [&](Index first, Index panel, Index i) FUSEDLSTM_INLINE {
                            return rows_first ? product(range.begin + first, panel) : finished + i * columns;
                          },
                          [&](Index first, Index panel, Index count, const T* sums) FUSEDLSTM_INLINE {
                            const Index* tile = own + first;
                            if (rows_first) return;
                            if (p.m) {
                              keep_hidden_gradients(p, sums, tile, count, s, panel, last);
                            } else if (p.options == nullptr) {
                              run_gradients<Pass, false>(p, layout, sums, tile, count, s, panel, false, last);
                            } else {
                              run_gradients<Pass, true>(p, layout, sums, tile, count, s, panel, false, last);
                            }
                          });
                    });
        };
        if (later > 0) run_rows({0, later}, false);
        if (active > later) run_rows({later, active}, true);
      };
      const auto run_projection = [&](int part) {
        alignas(64) Finished finished;
        const auto dh_row = [&](Index r) FUSEDLSTM_INLINE -> const T* {
          return p.dprojected + (s * p.sizes.batch + rows[r]) * R;
        };
        const auto left = whole_rows(R, dh_row);
        round(active, R, left, rounded_step);
        multiply_rows(
            active, R, left, rounded_step, weights.projection,
            PanelOrder{share.part_of(share.projection_panels, part), s % 2 != 0}, from_zero,
            [&](Index first, Index panel, Index i)
                FUSEDLSTM_INLINE { return normal ? product(first, panel) : finished + i * columns; },
            [&](Index first, Index panel, Index count, const T* sums) FUSEDLSTM_INLINE {
              if (normal) return;
              if (p.options == nullptr) {
                run_gradients<Pass, false>(p, layout, sums, rows + first, count, s, panel, true, false);
              } else {
                run_gradients<Pass, true>(p, layout, sums, rows + first, count, s, panel, true, false);
              }
            });
      };
      const auto run_norm_rows = [&](int part) {
        const Range own = share.part_of(active, part);
        for (Index r = own.begin; r < own.end; ++r) {
          const PanelRow<T> dh{product(r, 0), product_rows * columns};
          if (p.options == nullptr) {
            run_norm_gradients<false>(p, dh, norm_rows, rows[r], s, r >= later);
          } else {
            run_norm_gradients<true>(p, dh, norm_rows, rows[r], s, r >= later);
          }
        }
      };
      if (!worker.phase(share.parts, run_step)) return;
      if (p.m && !worker.phase(share.parts, run_projection)) return;
      if (normal && !worker.phase(share.parts, run_norm_rows)) return;
      later = active;
      due = 0;
      if (!p.dx) continue;
      for (Index r = 0; r < active; ++r, ++waiting) {
        gate_rows[waiting] = input_gradients + layout.place(0, s, rows[r]);
        dx_rows[waiting] = p.dx.at(rows[r], p.timeline.time(rows[r], s));
      }
      if (s % share.chunk == 0) {
        due = waiting;
        waiting = 0;
      }
    }

    // Rows without any step pass dh on as it is.
    const auto finish_state = [&](int part, Range range, bool empty) FUSEDLSTM_INLINE {
      alignas(64) Finished finished;
      const Index* own = rows + range.begin;
      const Index K = empty ? 0 : G;
      const auto left = gates_at(0, own);
      round(range.size(), K, left, rounded_step);
      const bool keeps_h = !empty && p.options != nullptr && p.options->zoneout.h > 0;
      multiply_rows(
          range.size(), K, left, rounded_step, weights.recurrent,
          PanelOrder{share.part_of(share.panels, part)}, from_zero,
          [&](Index, Index, Index i) FUSEDLSTM_INLINE { return finished + i * columns; },
          [&](Index first, Index panel, Index count, const T* sums) FUSEDLSTM_INLINE {
            for (Index r = 0; r < count; ++r, sums += columns) {
              const Index b = own[first + r];
              for_each_vector<T>(panel, R, [&](int j, Index unit, auto lanes) FUSEDLSTM_INLINE {
                V dh = V::load(sums + j * V::width);
                if (p.recurrent_mask != nullptr) {
                  dh = dh * V::load(p.recurrent_mask + b * R + unit, lanes);
                }
                if (keeps_h) dh = dh + V::load(p.dh_kept + b * R + unit, lanes);
                if (empty && p.dh != nullptr) dh = V::load(p.dh + b * R + unit, lanes);
                dh.store(p.dh0 + b * R + unit, lanes);
              });
            }
          });
    };
    const auto run_end = [&](int part) {
      if (due > 0) run_inputs(part);
      if (p.dh0 == nullptr) return;
      if (active > 0) finish_state(part, {0, active}, false);
      if (all_rows > active) finish_state(part, {active, all_rows}, true);
    };
    if ((due > 0 || p.dh0 != nullptr) && !worker.phase(share.parts, run_end)) return;
  }
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
