// Dense layers' product.
#pragma once

#include "../kernels.h"
#include "denormals.h"
#include "rounding.h"
#include "rows.h"

namespace fusedlstm::FUSEDLSTM_ISA {

// The outputs' lines of a tile lie far apart, and its product leaves time for them to come.
template <class T, class W>
[[gnu::always_inline]] inline void prefetch_outputs(const DenseProblem<T, W>& p, Index row, Index count,
                                                    Index panel) {
  const Index first = panel * Tile<T>::columns;
  const Index width = smaller(Tile<T>::columns, p.outputs - first);
  const T* out = p.y + row * p.outputs + first;
  for (Index r = 0; r < count; ++r, out += p.outputs) {
    for (Index j = 0; j < width; j += 64 / Index{sizeof(T)}) __builtin_prefetch(out + j, 1);
  }
}

// Sums of `count` rows (count, columns) become outputs, or are added to them if they `go_on`; the bias is
// added where it is given.
template <class T, class W>
[[gnu::always_inline]] inline void store_outputs(const DenseProblem<T, W>& p, Index row, Index count,
                                                 Index panel, const T* sums, bool go_on, const T* bias) {
  using V = Vec<T>;
  constexpr Index columns = Tile<T>::columns;
  const Index first = panel * columns;
  T* out = p.y + row * p.outputs + first;
  for (Index r = 0; r < count; ++r, sums += columns, out += p.outputs) {
    for_each_vector_in<T>({0, smaller(columns, p.outputs - first)},
                          [&](Index j, auto lanes) FUSEDLSTM_INLINE {
                            V sum = V::load(sums + j);
                            if (go_on) sum = V::load(out + j, lanes) + sum;
                            if (bias != nullptr) sum = sum + V::load(bias + first + j, lanes);
                            sum.store(out + j, lanes);
                          });
  }
}

// So many operations between two questions whether to go on: enough for a panel that comes from memory.
inline constexpr Index dense_operations = 200'000'000;

template <class T>
void dense(const DenseProblem<T>& p, Range rows, Range panels, T* scratch, Worker& worker) {
  constexpr Index columns = Tile<T>::columns;
  const FlushDenormals flush;
  alignas(64) T finished[Tile<T>::rows * columns];
  for (Index begin = rows.begin; begin < rows.end; begin += dense_rows) {
    const Index count = smaller(dense_rows, rows.end - begin);
    const Index of_panel = panel_operations<T>(count, p.inputs);
    const Index group = dense_operations / (of_panel + 1) + 1;
    for (Index panel = panels.begin; panel < panels.end; panel += group) {
      multiply(
          count, p.inputs, whole_rows(p.inputs, [&](Index r) { return p.x + (begin + r) * p.x_stride; }),
          p.panels, PanelOrder{{panel, smaller(panel + group, panels.end)}}, scratch,
          [&](Index first, Index own) FUSEDLSTM_INLINE {
            prefetch_outputs(p, begin + first, smaller(Index{Tile<T>::rows}, count - first), own);
            return zeros<T>();
          },
          [&](Index, Index, Index i) { return finished + i * columns; },
          [&](Index first, Index own, Index tile_rows, const T* sums) {
            store_outputs(p, begin + first, tile_rows, own, sums, false, p.bias);
          });
      if (worker.stopped(of_panel * group)) return;
    }
  }
}

// The same of operands: pieces of x are rounded, multiplied with the panels of their features, and added to
// the outputs.
inline void dense_of_operands(const DenseProblem<float, BFloat16Operand>& p, Range rows, Range panels,
                              float* scratch, Worker& worker) {
  constexpr Index columns = Tile<float>::columns;
  const FlushDenormals flush;
  alignas(64) float finished[operand_tile_rows * columns];
  OperandUnit unit;
  const OperandPieces pieces(p.inputs);
  const Index all_panels = divide_up(p.outputs, columns);
  for (Index begin = rows.begin; begin < rows.end; begin += pieces.rows) {
    const Index count = smaller(pieces.rows, rows.end - begin);
    Index k = 0;
    do {
      const Index depth = smaller(pieces.depth, p.inputs - k);
      const bool last = k + depth == p.inputs;
      float* memory = scratch;
      const OperandRows left = OperandRows::take(memory, count, depth);
      round_rows(
          count, depth, [&](Index r) FUSEDLSTM_INLINE { return p.x + (begin + r) * p.x_stride + k; }, left);
      const Index of_panel = panel_operations<float>(count, depth);
      const Index group = dense_operations / (of_panel + 1) + 1;
      for (Index panel = panels.begin; panel < panels.end; panel += group) {
        multiply_rounded(
            unit, count, depth, left, p.panels + k * all_panels * columns, nullptr,
            PanelOrder{{panel, smaller(panel + group, panels.end)}},
            [&](Index first, Index own) FUSEDLSTM_INLINE {
              prefetch_outputs(p, begin + first, smaller(operand_tile_rows, count - first), own);
              return zeros<float>();
            },
            [&](Index, Index, Index i) FUSEDLSTM_INLINE { return finished + i * columns; },
            [&](Index first, Index own, Index tile_rows, const float* sums) FUSEDLSTM_INLINE {
              store_outputs(p, begin + first, tile_rows, own, sums, k > 0, last ? p.bias : nullptr);
            });
        if (worker.stopped(of_panel * group)) return;
      }
      k += depth;
    } while (k < p.inputs);
  }
}

}  // namespace fusedlstm::FUSEDLSTM_ISA
