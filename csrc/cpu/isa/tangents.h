// Tangents of the sequence, forward and backward: the passes of forward.h and backward.h with the equations
// of second_order.h as the epilogue of their tiles.
#pragma once

#include "../../math/second_order.h"
#include "backward.h"
#include "forward.h"

namespace fusedlstm::FUSEDLSTM_ISA {

template <class T>
[[gnu::always_inline]] inline Gates<Vec<T>> load_gates(const T* p) {
  using V = Vec<T>;
  return {V::load(p), V::load(p + V::width), V::load(p + 2 * V::width), V::load(p + 3 * V::width)};
}

template <class T>
[[gnu::always_inline]] inline void store_gates(const Gates<Vec<T>>& gates, T* p) {
  using V = Vec<T>;
  gates.i.store(p);
  gates.f.store(p + V::width);
  gates.g.store(p + 2 * V::width);
  gates.o.store(p + 3 * V::width);
}

// How much the peepholes of a vector's units move.
template <class V, class T, class Lanes>
[[gnu::always_inline]] inline NoDirection direction_of(const PlainCell&, const T*, Index, Index, Lanes) {
  return {};
}

template <class V, class T, class Lanes>
[[gnu::always_inline]] inline PeepholeDirection<V> direction_of(const OptionCell<V, T>&,
                                                                const T* peepholes_dot, Index units,
                                                                Index unit, Lanes lanes) {
  PeepholeDirection<V> direction{{V(0), V(0), V(0)}};
  for (int i = 0; i < 3 && peepholes_dot != nullptr; ++i) {
    direction.peepholes_dot[i] = V::load(peepholes_dot + i * units + unit, lanes);
  }
  return direction;
}

// The tile's epilogue: tangents of pre-activations (count, 4, width) to those of h, c and, on tape, gates.
template <class T, class Cell, class Lanes>
[[gnu::always_inline]] inline void run_tangents(const TangentProblem<T>& p, const Cell& cell, const T* z_dot,
                                                const Index* rows, Index count, Index s, Index panel,
                                                Lanes lanes) {
  using V = Vec<T>;
  const Index H = p.sizes.units;
  const Index unit = panel * V::width;
  const GateTape layout(p.timeline.steps, p.sizes.batch, V::width);
  const auto direction = direction_of<V>(cell, p.peepholes_dot, H, unit, lanes);
  for (Index r = 0; r < count; ++r, z_dot += Tile<T>::columns) {
    const Index b = rows[r];
    const Index place = layout.place(panel, s, b);
    const Index state = b * H + unit;
    const T* cells = p.primal.cells + s * p.primal.cells_step + state;
    const V c = V::load(cells + p.primal.cells_step, lanes);
    const V h = V::load(p.primal.hidden(b, s) + unit, lanes);
    const Gates<V> gates = load_gates(p.primal.gates + place);
    const CellState<V> at{gates, V::load(cells, lanes), c, cell.output_of_step(c, gates.o, h)};
    const CellTangents<V> dot = cell_tangents(cell, direction, at, load_gates(z_dot),
                                              V::load(p.cells + s * p.cells_step + state, lanes));
    dot.c.store(p.cells + (s + 1) * p.cells_step + state, lanes);
    dot.h.store(p.hidden(b, s) + unit, lanes);
    if (p.recurrent_mask != nullptr) {
      const V mask = V::load(p.recurrent_mask + state, lanes);
      (dot.h * mask).store(p.dropped.at(p.timeline, b, s) + unit, lanes);
    }
    if (p.gates != nullptr) store_gates(dot.gates, p.gates + place);
  }
}

// Functions of their own, for the reason that multiply_tile is one.
template <class T, class Lanes>
[[gnu::noinline]] void run_plain_tangents(const TangentProblem<T>& p, const T* z_dot, const Index* rows,
                                          Index count, Index s, Index panel, Lanes lanes) {
  run_tangents(p, PlainCell{}, z_dot, rows, count, s, panel, lanes);
}

template <class T, class Lanes>
[[gnu::noinline]] void run_option_tangents(const TangentProblem<T>& p, const T* z_dot, const Index* rows,
                                           Index count, Index s, Index panel, Lanes lanes) {
  const GateClip<true, T> clip(p.options);
  const auto cell = option_cell(*p.options, p.sizes.units, panel * Vec<T>::width, lanes, clip.ends());
  run_tangents(p, cell, z_dot, rows, count, s, panel, lanes);
}

// z_dot = x_dot W + x W_dot + h_prev U_dot + b_dot + h_prev_dot U: all but the last term are known for many
// steps in advance, and make up what is the input's part in the forward pass.
template <class T>
struct Tangents {
  using Problem = TangentProblem<T>;

  static constexpr bool plain = false;

  template <class Add>
  [[gnu::always_inline]] static void add_products(const Problem& p, const Add& add) {
    const ForwardProblem<T>& primal = p.primal;
    const Index H = primal.sizes.units;
    if (p.kernel != nullptr) {
      add(primal.sizes.inputs, p.kernel,
          [&](Index b, Index s) { return primal.x.at(b, p.timeline.time(b, s)); });
    }
    if (p.recurrent_kernel != nullptr) {
      const T* first = primal.recurrent_mask != nullptr ? primal.dropped_h0 : primal.h0;
      add(H, p.recurrent_kernel, [&](Index b, Index s) {
        if (s > 0) return primal.recurrent(b, s - 1);
        return first != nullptr ? first + b * H : p.zeros;
      });
    }
  }

  [[gnu::always_inline]] static void begin(const Problem&, const Index*, Index, Index, Index) {}

  template <class Lanes>
  [[gnu::always_inline]] static void finish(const Problem& p, const T* z_dot, const Index* rows, Index count,
                                            Index s, Index panel, Lanes lanes) {
    if (p.options == nullptr) {
      run_plain_tangents(p, z_dot, rows, count, s, panel, lanes);
    } else {
      run_option_tangents(p, z_dot, rows, count, s, panel, lanes);
    }
  }
};

// dh_dot = dz_dot U^T + dz U_dot^T of the step after, and then the tangents of the cell's gradients, in place
// of those of its gates.
template <class T>
struct GradientTangents {
  using Problem = SecondProblem<T>;
  using V = Vec<T>;

  template <class Cell, class Lanes>
  [[gnu::always_inline]] static void finish(const Problem& p, const GateTape& layout, const Cell& cell,
                                            V dh_dot, Index b, Index s, Index unit, Lanes lanes) {
    const Index B = p.sizes.batch;
    const Index H = p.sizes.units;
    const Index place = layout.place(unit / V::width, s, b);
    const Index state = (s * B + b) * H + unit;
    const Index next_state = state + B * H;
    const V c = V::load(p.cells + next_state, lanes);
    const V h = V::load(p.h.at(p.timeline, b, s) + unit, lanes);
    const Gates<V> gates = load_gates(p.activated + place);
    const CellState<V> at{gates, V::load(p.cells + state, lanes), c, cell.output_of_step(c, gates.o, h)};
    const StepGradients<V> first{V::load(p.dh_steps + state, lanes), V::load(p.dc_steps + state, lanes),
                                 load_gates(p.gate_gradients + place)};
    T* tape = p.gates + place;
    T* dc_dot = p.dc0 + b * H + unit;
    const CellGradients<V> dot = cell_backward_tangents(
        cell, direction_of<V>(cell, p.peepholes_dot, H, unit, lanes), at, load_gates<T>(tape),
        V::load(p.cells_dot + state, lanes), V::load(p.cells_dot + next_state, lanes), first, dh_dot,
        V::load(dc_dot, lanes));
    store_gates(dot.z, tape);
    dot.c_prev.store(dc_dot, lanes);
  }
};

// For `chunk` steps at once, so that small batches fill the tile.
template <class T>
void gate_product(const GateProduct<T>& p, const SequenceShare& share, Range panels, T* scratch,
                  Worker& worker) {
  using V = Vec<T>;
  constexpr Index columns = Tile<T>::columns;
  const FlushDenormals flush;
  const GateTape layout(p.timeline.steps, p.batch, V::width);
  const Index G = divide_up(p.units, V::width) * columns;
  struct Row {
    const T* gates;
    T* out;
    const T* mask;
  };
  Row* due = reinterpret_cast<Row*>(scratch);
  T* partial = scratch + divide_up(6 * share.chunk * share.row_block, 16) * 16;
  alignas(64) T finished[Tile<T>::rows * columns];

  const auto compute = [&](Index count) {
    const auto row = [&](Index r) FUSEDLSTM_INLINE { return due[r].gates; };
    multiply(
        count, G, LeftRows<decltype(row)>{row, columns, layout.panel_size()}, p.panels, PanelOrder{panels},
        partial, [](Index, Index) FUSEDLSTM_INLINE { return zeros<T>(); },
        [&](Index, Index, Index i) FUSEDLSTM_INLINE { return finished + i * columns; },
        [&](Index first, Index panel, Index tile_rows, const T* sums) FUSEDLSTM_INLINE {
          for (Index r = 0; r < tile_rows; ++r, sums += columns) {
            const Row& target = due[first + r];
            for_each_vector<T>(panel, p.columns, [&](int j, Index column, auto lanes) FUSEDLSTM_INLINE {
              V sum = V::load(sums + j * V::width);
              if (target.mask != nullptr) sum = sum * V::load(target.mask + column, lanes);
              if (p.add) sum = sum + V::load(target.out + column, lanes);
              sum.store(target.out + column, lanes);
            });
          }
        });
  };

  for (Index row0 = 0; row0 < share.row_count; row0 += share.row_block) {
    const Index* rows = share.rows + row0;
    const Index all_rows = smaller(share.row_block, share.row_count - row0);
    const Index longest = p.timeline.length(rows[0]);
    Index count = 0;
    for (Index s = 0; s < longest; ++s) {
      for (Index r = 0; r < all_rows && p.timeline.length(rows[r]) > s; ++r) {
        const Index b = rows[r];
        T* out = s < p.lag ? p.before + b * p.columns : p.out.at(b, p.timeline.time(b, s - p.lag));
        due[count++] = {p.gates + layout.place(0, s, b), out,
                        p.mask != nullptr ? p.mask + b * p.columns : nullptr};
      }
      if ((s + 1) % share.chunk == 0 || s + 1 == longest) {
        compute(count);
        if (worker.stopped(2 * count * G * columns * panels.size())) return;
        count = 0;
      }
    }
  }
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
