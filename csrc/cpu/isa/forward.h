// The sequence, forward: one thread's share.
#pragma once

#include "../../math/cell.h"
#include "../kernels.h"
#include "denormals.h"
#include "gemm.h"
#include "hidden.h"
#include "projection.h"
#include "rounding.h"
#include "vec_math.h"

namespace fusedlstm::FUSEDLSTM_ISA {

// The cell's options for the panel's units.
template <class T, class Lanes>
[[gnu::always_inline]] inline OptionCell<Vec<T>, T> option_cell(const CellOptions<T>& options, Index units,
                                                                Index unit, Lanes lanes,
                                                                const ClipEnds<Vec<T>>* ends = nullptr) {
  OptionCell<Vec<T>, T> cell{options, {}, ends};
  for (int i = 0; i < 3; ++i) {
    const T* row = options.peepholes != nullptr ? options.peepholes + i * units + unit : nullptr;
    cell.peepholes[i] = row != nullptr ? Vec<T>::load(row, lanes) : Vec<T>(0);
  }
  return cell;
}

// The tile's epilogue: pre-activations z (count, 4, width) of rows[] and the panel's units to h, c and, on
// tape, gates of step s; or to m where h is the projection of it. Gates and cells of all rows come first and
// their hidden states after, in two loops: one row's tanh(c) waits for its gates, and the processor would not
// see far enough ahead to fill the time.
template <class T, class Cell, class Lanes>
[[gnu::always_inline]] inline void run_cells(const ForwardProblem<T>& p, const Cell& cell, T* z,
                                             const Index* rows, Index count, Index s, Index panel,
                                             Lanes lanes) {
  using V = Vec<T>;
  constexpr Index columns = Tile<T>::columns;
  const Index H = p.sizes.units;
  const Index unit = panel * V::width;
  const T* previous = p.cells + s * p.cells_step + unit;
  T* next = p.cells + (s + 1) * p.cells_step + unit;
  const GateTape layout(p.timeline.steps, p.sizes.batch, V::width);
  T* tape = p.gates != nullptr ? p.gates + layout.place(panel, s, 0) : nullptr;
  const bool keeps_c = Cell::has_options && p.options->zoneout.c > 0;
  for (Index r = 0; r < count; ++r) {
    T* row = z + r * columns;
    const Gates<V> preactivations{V::load(row), V::load(row + V::width), V::load(row + 2 * V::width),
                                  V::load(row + 3 * V::width)};
    const V c_prev = V::load(previous + rows[r] * H, lanes);
    const CellValues<V> values = cell_forward(cell, preactivations, c_prev);
    values.gates.o.store(row);
    if (keeps_c) {
      values.c.store(row + V::width);
      const RowZoneout<T> zoneout(p.options->zoneout, ZonedState::c, rows[r], p.timeline.offset + s);
      zoneout.of(unit).mixed(c_prev, values.c).store(next + rows[r] * H, lanes);
    } else {
      values.c.store(next + rows[r] * H, lanes);
    }
    if (tape != nullptr) {
      T* out = tape + rows[r] * columns;
      values.gates.i.store(out);
      values.gates.f.store(out + V::width);
      values.gates.g.store(out + 2 * V::width);
      values.gates.o.store(out + 3 * V::width);
    }
  }
  for (Index r = 0; r < count; ++r) {
    const Index b = rows[r];
    const T* row = z + r * columns;
    const V c = keeps_c ? V::load(row + V::width) : V::load(next + b * H, lanes);
    const V h = hidden_state(cell, V::load(row), c);
    if (p.m) {
      h.store(p.m.at(p.timeline, b, s) + unit, lanes);
    } else {
      store_hidden<Cell::has_options>(p, h, b, s, unit, lanes);
    }
  }
}

// Each a function of its own, for the reason that multiply_tile is one.
template <class T, class Lanes>
[[gnu::noinline]] void run_plain_cells(const ForwardProblem<T>& p, T* z, const Index* rows, Index count,
                                       Index s, Index panel, Lanes lanes) {
  run_cells(p, PlainCell{}, z, rows, count, s, panel, lanes);
}

template <class T, class Lanes>
[[gnu::noinline]] void run_option_cells(const ForwardProblem<T>& p, T* z, const Index* rows, Index count,
                                        Index s, Index panel, Lanes lanes) {
  const auto cell = option_cell(*p.options, p.sizes.units, panel * Vec<T>::width, lanes);
  run_cells(p, cell, z, rows, count, s, panel, lanes);
}

template <class T, class Lanes>
[[gnu::always_inline]] inline void finish_cells(const ForwardProblem<T>& p, T* z, const Index* rows,
                                                Index count, Index s, Index panel, Lanes lanes) {
  if (p.options == nullptr) {
    run_plain_cells(p, z, rows, count, s, panel, lanes);
  } else {
    run_option_cells(p, z, rows, count, s, panel, lanes);
  }
}

// Asks for what the epilogue of a tile will write to the tape, before the tile's product, which leaves time
// for it to come: a store to a line that is not in cache has to fetch it first, and steps lie megabytes
// apart.
template <class T>
[[gnu::always_inline]] inline void prefetch_tape(const ForwardProblem<T>& p, const Index* rows, Index count,
                                                 Index s, Index panel) {
  if (p.gates == nullptr) return;
  constexpr Index line = 64 / Index{sizeof(T)};
  constexpr Index columns = Tile<T>::columns;
  const GateTape layout(p.timeline.steps, p.sizes.batch, Vec<T>::width);
  const Index unit = panel * Vec<T>::width;
  const T* gates = p.gates + layout.place(panel, s, 0);
  const T* cells = p.cells + (s + 1) * p.cells_step + unit;
  for (Index r = 0; r < count; ++r) {
    const Index b = rows[r];
    for (Index i = 0; i < columns; i += line) __builtin_prefetch(gates + b * columns + i, 1, 2);
    __builtin_prefetch(cells + b * p.sizes.units, 1, 2);
    __builtin_prefetch((p.m ? p.m : p.h).at(p.timeline, b, s) + unit, 1, 2);
  }
}

// norm_cell.h
template <bool with_options, class T>
void run_norm_cells(const ForwardProblem<T>& p, const T* bias, const PanelRow<T>& input,
                    const PanelRow<T>& recurrent, Index b, Index s);

// The cells of a pass forward over the sequence; those of tangents are in tangents.h.
template <class T>
struct Cells {
  using Problem = ForwardProblem<T>;

  // Whether a step has the products W x and U h alone.
  static constexpr bool plain = true;

  // Calls add(K, panels, row) for products that belong to the input's part besides W x + b, with row(b, s)
  // the left operand of batch row b and step s.
  template <class Add>
  [[gnu::always_inline]] static void add_products(const Problem&, const Add&) {}

  // Before the recurrent product of a tile; `finish` is its epilogue.
  [[gnu::always_inline]] static void begin(const Problem& p, const Index* rows, Index count, Index s,
                                           Index panel) {
    prefetch_tape(p, rows, count, s, panel);
  }

  template <class Lanes>
  [[gnu::always_inline]] static void finish(const Problem& p, T* z, const Index* rows, Index count, Index s,
                                            Index panel, Lanes lanes) {
    finish_cells(p, z, rows, count, s, panel, lanes);
  }
};

// Pre-activations start with the input's part, W x + b for `chunk` steps at once, so that small batches also
// fill the tile; then each step adds U h and runs the cell while the sums are in L1. In a joined share both
// parts are one product instead. With layer normalization, W x and U h of whole rows come first, and parts of
// the units are followed by parts of the rows.
template <class T, class W, class Pass = Cells<T>>
void forward(const typename Pass::Problem& p, const GatePanels<T, W>& weights, const SequenceShare& share,
             T* scratch, Worker& worker) {
  using V = Vec<T>;
  using Rows = typename Rounding<W>::Rows;
  constexpr bool rounds = row_multiple<W> > 1;
  // Tiles of three rows gain nothing: their panels have to stay in L1, and there would be two at a time.
  constexpr bool can_join = Pass::plain && !rounds && Tile<T>::registers_32;
  constexpr Index columns = Tile<T>::columns;
  const FlushDenormals flush;
  const Index I = p.sizes.inputs;
  const Index H = p.sizes.units;
  const Index R = p.sizes.outputs;
  // The scratch holds pointers to the chunk's inputs; then sums that wait between blocks of K, or else
  // rounded rows of inputs and states.
  const Index most_rows = share.chunk * share.row_block;
  const T** inputs = reinterpret_cast<const T**>(scratch);
  T* partial = scratch + divide_up(2 * most_rows, 16) * 16;
  [[maybe_unused]] Rows rounded_inputs{};
  Rows rounded_states{};
  [[maybe_unused]] typename Rounding<W>::Unit unit;
  if constexpr (rounds) {
    T* next = partial;
    rounded_inputs = Rows::take(next, most_rows, I);
    rounded_states = Rows::take(next, share.row_block, H > R ? H : R);
  }
  // Projections (panels, chunk rows, columns), after products with layer normalization.
  const bool normal = p.layer_norm != nullptr;
  const Index product_rows = norm_panel_rows(share.row_block);
  T* const products = p.products;
  T* const projected = normal ? products + divide_up(H, V::width) * product_rows * columns : products;

  for (Index row0 = 0; row0 < share.row_count; row0 += share.row_block) {
    const Index* rows = share.rows + row0;
    Index active = smaller(share.row_block, share.row_count - row0);
    const Index longest = p.timeline.length(rows[0]);

    for (Index s0 = 0; s0 < longest; s0 += share.chunk) {
      const Index chunk = smaller(share.chunk, longest - s0);
      Index first_of[max_chunk + 1];
      first_of[0] = 0;
      for (Index i = 0; i < chunk; ++i) {
        const Index s = s0 + i;
        while (p.timeline.length(rows[active - 1]) <= s) --active;
        for (Index r = 0; r < active; ++r) {
          inputs[first_of[i] + r] = p.x.at(rows[r], p.timeline.time(rows[r], s));
        }
        first_of[i + 1] = first_of[i] + active;
      }
      const Index total = first_of[chunk];
      const bool joined = can_join && share.joined && total > 1;
      const Index projected_rows = normal ? norm_panel_rows(total) : total;
      const auto projection = [=](Index r, Index panel) FUSEDLSTM_INLINE {
        return projected + (panel * projected_rows + r) * columns;
      };
      const auto bias = [normal, start = weights.bias](Index panel)
                            FUSEDLSTM_INLINE { return normal ? zero_row<T> : start + panel * columns; };
      const auto input_row = [inputs](Index r) FUSEDLSTM_INLINE { return inputs[r]; };
      const auto project_inputs = [&](Range panels) {
        const auto to_projection = [&](Index first, Index panel, Index)
                                       FUSEDLSTM_INLINE { return projection(first, panel); };
        const auto from_bias = [&](Index, Index panel) FUSEDLSTM_INLINE { return Start<T>{bias(panel), 0}; };
        const auto nothing = [](Index, Index, Index, T*) FUSEDLSTM_INLINE {};
        if constexpr (rounds) {
          round_rows(total, I, input_row, rounded_inputs);
          multiply_rounded(unit, total, I, rounded_inputs, weights.input, weights.input_scale,
                           PanelOrder{panels}, from_bias, to_projection, nothing);
        } else {
          multiply(total, I, whole_rows(I, input_row), weights.input, PanelOrder{panels}, partial, from_bias,
                   to_projection, nothing);
          Pass::add_products(p, [&](Index K, const T* of_product, const auto& row) {
            const T** left = reinterpret_cast<const T**>(partial + most_rows * columns);
            for (Index i = 0; i < chunk; ++i) {
              for (Index r = first_of[i]; r < first_of[i + 1]; ++r)
                left[r] = row(rows[r - first_of[i]], s0 + i);
            }
            const auto left_row = [&](Index r) FUSEDLSTM_INLINE { return left[r]; };
            multiply(
                total, K, whole_rows(K, left_row), of_product, PanelOrder{panels}, partial,
                [&](Index first, Index panel)
                    FUSEDLSTM_INLINE { return Start<T>{projection(first, panel), columns}; },
                to_projection, nothing);
          });
        }
      };

      for (Index i = 0; i < chunk; ++i) {
        const Index s = s0 + i;
        // Without an initial state the first step has no recurrent part at all.
        const Index recurrent = s == 0 && p.h0 == nullptr ? 0 : R;
        const Index first_now = first_of[i];
        const Index active_now = first_of[i + 1] - first_now;
        const auto hidden_row = [=, &p](Index r) FUSEDLSTM_INLINE -> const T* {
          if (s > 0) return p.recurrent(rows[r], s - 1);
          const T* first = p.recurrent_mask != nullptr ? p.dropped_h0 : p.h0;
          return first != nullptr ? first + rows[r] * R : p.cells;
        };
        const auto product = [=](Index r, Index panel)
                                 FUSEDLSTM_INLINE { return products + (panel * product_rows + r) * columns; };
        // By value what the loops over tiles read: they would find it behind two pointers otherwise.
        const auto run_step = [=, &p, &weights, &share, &project_inputs, &worker, &unit](int part) {
          static_cast<void>(unit);  // Weights that are widened need none.
          const PanelOrder all{share.part_of(share.panels, part), s % 2 != 0};
          if (i == 0 && !joined) {
            in_groups(worker, all, panel_operations<T>(total, I),
                      [&](PanelOrder group) FUSEDLSTM_INLINE { project_inputs(group.range); });
          }
          alignas(64) T finished[most_tile_rows<T, W> * columns];
          const auto addend = [=, &p](Index first, Index panel) FUSEDLSTM_INLINE {
            if (normal) return zeros<T>();
            Pass::begin(p, rows + first, smaller(most_tile_rows<T, W>, active_now - first), s, panel);
            if (joined) return Start<T>{bias(panel), 0};
            return Start<T>{projection(first_now + first, panel), columns};
          };
          T* const sums_of_tile = finished;
          const auto to_finished = [=](Index first, Index panel, Index tile) FUSEDLSTM_INLINE {
            return normal ? product(first, panel) : sums_of_tile + tile * columns;
          };
          const auto finish = [=, &p](Index first, Index panel, Index count, T* sums) FUSEDLSTM_INLINE {
            if (normal) return;
            if ((panel + 1) * V::width <= H) {
              Pass::finish(p, sums, rows + first, count, s, panel, AllLanes{});
            } else {
              Pass::finish(p, sums, rows + first, count, s, panel, H - panel * V::width);
            }
          };
          if constexpr (rounds) round_rows(active_now, recurrent, hidden_row, rounded_states);
          // Joined products are short.
          in_groups(
              worker, all, panel_operations<T>(active_now, recurrent),
              [&](PanelOrder order) FUSEDLSTM_INLINE {
                if constexpr (rounds) {
                  multiply_rounded(unit, active_now, recurrent, rounded_states, weights.recurrent,
                                   weights.recurrent_scale, order, addend, to_finished, finish);
                } else if (joined) {
                  const Product<decltype(input_row), W> of_inputs{I, input_row, weights.input};
                  const Product<decltype(hidden_row), W> of_states{recurrent, hidden_row, weights.recurrent};
                  multiply_both<T>(active_now, of_inputs, of_states, order, addend, to_finished, finish);
                } else {
                  multiply(active_now, recurrent, whole_rows(recurrent, hidden_row), weights.recurrent, order,
                           partial, addend, to_finished, finish);
                }
              });
        };
        const auto run_norm_rows = [&](int part) {
          const Range range = share.part_of(active_now, part);
          for (Index r = range.begin; r < range.end; ++r) {
            const PanelRow<T> input{projection(first_now + r, 0), projected_rows * columns};
            const PanelRow<T> state{product(r, 0), product_rows * columns};
            if (p.options == nullptr) {
              run_norm_cells<false>(p, weights.bias, input, state, rows[r], s);
            } else {
              run_norm_cells<true>(p, weights.bias, input, state, rows[r], s);
            }
          }
        };
        const auto run_projection = [&](int part) {
          const PanelOrder order{share.part_of(share.projection_panels, part), s % 2 != 0};
          project(p, weights, order, rows, active_now, s, partial, rounded_states, unit);
        };
        if (worker.stopped(active_now * (I + R) * H * 8)) return;
        const bool last = share.ends_job && s + 1 == longest && row0 + share.row_block >= share.row_count;
        if (!worker.phase(share.parts, run_step, last && !normal && !p.m)) return;
        if (normal && !worker.phase(share.parts, run_norm_rows)) return;
        if (p.m && !worker.phase(share.parts, run_projection)) return;
      }
    }
  }
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
