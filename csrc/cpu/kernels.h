// The kernels of one instruction set: a table of plain functions, each the work of one thread.
#pragma once

#include "../math/updates.h"
#include "ctc_problem.h"
#include "problem.h"
#include "second_order_problem.h"
#include "team.h"

namespace fusedlstm {

// One of `count` even parts of [0, total).
FUSEDLSTM_INLINE inline Range share_of(Index total, int part, int count) {
  return {total * part / count, total * (part + 1) / count};
}

// A sequence kernel's work: some rows, through the whole sequence, with their units in `parts` that are the
// shares of each step's phases. Where threads split the rows there is one part, and nobody to wait
// for; where they split the units, all of them are in the kernel, with the same rows.
struct SequenceShare {
  const Index* rows;  // batch rows, longest first
  Index row_count;
  int parts;
  Index panels;             // forward: gate panels; backward: panels of dh
  Index input_panels;       // backward: panels of dx
  Index projection_panels;  // with a projection, forward: panels of h; backward: panels of dm
  Index row_block;          // rows that run through the whole sequence together
  Index chunk;              // steps, at most max_chunk, whose input projection (backward: dx) is one product
  bool joined;              // forward: W x and U h of a step are one product; its chunk is 1
  bool ends_job;            // no phases come after the kernel's

  FUSEDLSTM_INLINE Range part_of(Index total, int part) const { return share_of(total, part, parts); }
};

inline constexpr Index max_chunk = 32;

// One left operand of a weight gradient: `count` features for every row and step, `lag` steps late, with
// `before` (B, count), or zeros where it is null, taking the place of the steps before the first.
template <class T>
struct Features {
  HiddenStates<const T> rows;
  Index count;
  Index lag;
  const T* before;
  T* gradient;  // (count, columns)

  // Null where the features are zero.
  FUSEDLSTM_INLINE const T* at(const Timeline& timeline, Index b, Index s) const {
    if (s >= lag) return rows.at(timeline, b, s - lag);
    return before != nullptr ? before + b * count : nullptr;
  }
};

// gradient = sum over real steps and rows of features^T right, for up to two left operands at once. `right`
// is the gates' tape (P, T, B, 4, width) of so many units, or, where units are 0, a plain matrix (T, B,
// columns).
template <class T>
struct WeightGradientProblem {
  Index batch;
  Range rows;  // those that are summed, with the bits that they have as a batch of their own
  Timeline timeline;
  Index columns;  // of the gradients, 4 units for a tape
  Index units;
  const T* right;
  Features<T> left[2];
  int left_count;
  T* bias;          // (columns): sum of `right`, or null
  bool accumulate;  // add to the gradients instead of setting them
};

// Weight gradients sum blocks of at most `block` (step, row) pairs: whole steps, or an even part of a step's
// rows. Windows that start at a multiple of `steps` have the same blocks as the whole sequence.
struct GradientBlocks {
  Index steps;
  Index rows;

  FUSEDLSTM_INLINE GradientBlocks(Index batch, Index block) {
    const Index parts = batch > 0 ? (batch + block - 1) / block : 1;
    steps = batch > 0 && batch < block ? block / batch : 1;
    rows = (batch + parts - 1) / parts;
  }
};

// Panels of W are those of the kernel as a plain matrix, or, of operands, of OperandPieces of its rows, one
// matrix after the other.
template <class T, class W = T>
struct DenseProblem {
  Index rows;
  Index inputs;
  Index outputs;
  const T* x;  // rows `x_stride` apart
  Index x_stride;
  const W* panels;  // (panels, inputs, 4 width)
  const T* bias;    // (outputs) or null
  T* y;             // (rows, outputs)
};

// Rows of x that a dense product takes at a time.
inline constexpr Index dense_rows = 1024;

// Pieces of x that are rounded at a time: so many features, each piece's products a sum of their own, and so
// many rows of them, that a piece, 512 KiB, stays in a core's cache while all panels pass.
struct OperandPieces {
  static constexpr Index most_depth = 1024;
  Index depth;
  Index rows;

  FUSEDLSTM_INLINE constexpr explicit OperandPieces(Index inputs)
      : depth(inputs < most_depth ? inputs : most_depth),
        rows(256 * most_depth / panel_rows<BFloat16Operand>(depth > 0 ? depth : 1) / 32 * 32) {}
  // Rows of pieces that are filled up, and the scratch of a thread for one, in float32.
  FUSEDLSTM_INLINE constexpr Index filled(Index inputs) const {
    return inputs / most_depth * most_depth + panel_rows<BFloat16Operand>(inputs % most_depth);
  }
  FUSEDLSTM_INLINE constexpr Index scratch(Index most_rows) const {
    return (most_rows < rows ? most_rows : rows) * panel_rows<BFloat16Operand>(depth) / 2 + 16;
  }
};

// Layer normalization of rows, or its gradients: of x always, of gamma and beta as parts of `block` rows
// each.
template <class T>
struct LayerNormProblem {
  Index rows;
  Index features;
  const T* x;  // rows `x_stride` apart
  Index x_stride;
  const T* gamma;  // (features) or null for ones
  const T* beta;   // (features) or null for zeros
  T epsilon;
  T* y;         // (rows, features)
  const T* dy;  // (rows, features)
  T* dx;        // (rows, features) or null when not wanted
  Index block;
  T* partial;  // (blocks, 2, features): dgamma and dbeta of each block
};

// The update by a rule; slots as in `ParamUpdate`.
template <class T, class Rule>
struct UpdateKernel {
  void (*run)(const Rule&, Range, T* param, const T* grad, T* const* slots);
};

template <class T, class Rules>
struct UpdateKernels;

template <class T, class... Rules>
struct UpdateKernels<T, RuleList<Rules...>> : UpdateKernel<T, Rules>... {
  template <class Rule>
  auto of(const Rule&) const {
    return UpdateKernel<T, Rule>::run;
  }
};

// A thread's part of weight gradients: of all tiles of features those that it has, in each of its panels of
// columns, and the panels whose bias it sums, which are among these.
struct GradientShare {
  Range tiles;
  Range panels;
  Range bias_panels;
};

// Costs of products, by which a sequence is planned.
struct ProductCosts {
  Index element;    // bytes of a weight
  Index tile_rows;  // of the register tile
  // Weights of more bytes are read from a cache that threads share, or from memory, at every step; and so
  // many rows hide that behind arithmetic.
  Index large_weights = Index{2} << 20;
  Index rows_for_large_weights = 24;
  // Recurrent weights of more bytes leave no room for the rest in a core's own cache.
  Index medium_weights = Index{3} << 18;
  Index rows_for_medium_weights = 12;
};

// The kernels that multiply bfloat16, of a set itself or of one that extends it by instructions for that.
struct ProductKernels {
  // Gate panels (panels, K, 4, width) as operands; and these as transpose_gates and transpose_panels do.
  void (*round)(const float* panels, Index K, Range range, BFloat16Operand* out);
  void (*transpose_gates)(const BFloat16Operand* gate_panels, Index K, Index units, Range range,
                          BFloat16Operand* panels);
  void (*transpose_panels)(const BFloat16Operand* panels, Index K, Index N, Range range,
                           BFloat16Operand* transposed);

  // Scratch as for other weights, and row_block (max(units, outputs) + chunk inputs + 32 (chunk + 1)) / 2 +
  // 32 more.
  void (*forward)(const ForwardProblem<float>&, const GatePanels<float, BFloat16Operand>&,
                  const SequenceShare&, float* scratch, Worker&);
  // And row_block (max(gates, outputs) + chunk gates + 32 (chunk + 1)) / 2 + 32 more, where gates are 4 width
  // times gate panels.
  void (*backward)(const BackwardProblem<float>&, const TransposedPanels<float, BFloat16Operand>&,
                   const SequenceShare&, float* scratch, Worker&);
  // Of tiles with `gradient_rows` features. Scratch half of (tiles gradient_rows group + 4 width) block.
  void (*weight_gradients)(const WeightGradientProblem<float>&, const GradientShare&, float* scratch,
                           Worker&);
  // The K rows of a piece, of a matrix with any strides and N columns, as panels, those of a range.
  void (*pack)(const float* source, Index row_stride, Index column_stride, Index K, Index N, Range range,
               BFloat16Operand* panels);
  // Scratch is OperandPieces'.
  void (*dense)(const DenseProblem<float, BFloat16Operand>&, Range rows, Range panels, float* scratch,
                Worker&);
  // As that of float32.
  double (*multiply_adds)(Index rounds);
  Index gradient_rows;
  ProductCosts costs;
};

// The kernels that multiply integers of 8 bits, of a set itself or of one that extends it.
struct ByteKernels {
  // Gate panels as operands, with the factors (panels, 4, width) that give them back.
  void (*round)(const float* panels, Index K, Range range, Int8Operand* out, float* scale);
  // Scratch as for weights of int8.
  void (*forward)(const ForwardProblem<float>&, const GatePanels<float, Int8Operand>&, const SequenceShare&,
                  float* scratch, Worker&);
  double (*multiply_adds)(Index rounds);
  ProductCosts costs;
};

template <class T>
struct Kernels {
  Index width;          // units per gate panel
  Index tile_rows;      // rows of the register tile
  Index block;          // (step, row) pairs that a weight gradient sums before it adds them to the total
  Index group;          // blocks that it packs before it adds them
  bool joins_products;  // whether forward has `joined` shares

  Index columns() const { return kGates * width; }  // of a panel: all gates of its units, or any others
  ProductCosts costs() const { return {.element = sizeof(T), .tile_rows = tile_rows}; }

  // Panels from weights in Keras's layout: (K,G) as gate panels, rows of one of them; the transpose of gate
  // panels, as panels of K columns, for panels in `range`; gate panels in fewer bits; and a plain (K,N)
  // matrix with any strides, rows of one panel.
  void (*pack_gates)(const T* source, Index row_stride, Index K, Index units, Index panel, Range rows,
                     T* panels);
  void (*transpose_gates)(const T* gate_panels, Index K, Index units, Range range, T* panels);
  // Plain panels (panels, K, 4 width) of N columns as plain panels of K columns.
  void (*transpose_panels)(const T* panels, Index K, Index N, Range range, T* transposed);
  // Gate panels (panels, K, 4, width) in fewer bits; int8 with the factors (panels, 4, width) that give them
  // back. Float only.
  void (*round_to_bfloat16)(const T* panels, Index rows, BFloat16* out) = nullptr;
  void (*round_to_int8)(const T* panels, Index K, Range range, std::int8_t* out, T* scale) = nullptr;
  void (*pack_matrix)(const T* source, Index row_stride, Index column_stride, Index K, Index N, Index panel,
                      Range rows, T* panels);

  // Scratch of a thread, in elements: forward chunk row_block (4 width + 2) + 16, and for int8 weights
  // row_block ((max(units, outputs) + chunk inputs) / 2 + 18 (chunk + 1)) + 32 more; backward chunk row_block
  // (4 width + 4) + 16, with layer normalization gate panels norm_scratch width more; weight gradients (tiles
  // tile_rows group + 4 width) block; dense min(rows, dense_rows) 4 width.
  template <class W>
  using Forward = void (*)(const ForwardProblem<T>&, const GatePanels<T, W>&, const SequenceShare&,
                           T* scratch, Worker&);
  Forward<T> forward;
  Forward<BFloat16> forward_bfloat16 = nullptr;  // float only
  Forward<std::int8_t> forward_int8 = nullptr;   // float only
  ProductKernels products = {};                  // float only
  ByteKernels bytes = {};                        // float only
  void (*backward)(const BackwardProblem<T>&, const TransposedPanels<T>&, const SequenceShare&, T* scratch,
                   Worker&);
  void (*weight_gradients)(const WeightGradientProblem<T>&, const GradientShare&, T* scratch, Worker&);
  // dpeepholes of the gate panels in `range`, from the tape's gate gradients.
  void (*peephole_gradients)(const BackwardProblem<T>&, Range panels);
  void (*dense)(const DenseProblem<T>&, Range rows, Range panels, T* scratch, Worker&);

  // Second derivatives. Scratch as forward; as backward; and chunk row_block (4 width + 6) + 16.
  void (*tangents)(const TangentProblem<T>&, const GatePanels<T>&, const SequenceShare&, T* scratch, Worker&);
  void (*second_backward)(const SecondProblem<T>&, const TransposedPanels<T>&, const SequenceShare&,
                          T* scratch, Worker&);
  void (*gate_product)(const GateProduct<T>&, const SequenceShare&, Range panels, T* scratch, Worker& worker);

  void (*layer_norm)(const LayerNormProblem<T>&, Range rows);
  void (*layer_norm_gradients)(const LayerNormProblem<T>&, Range blocks);
  // The sum of `count` rows that lie `stride` apart, for the columns in `range`.
  void (*add_rows)(Range range, Index count, Index stride, const T* rows, T* out);

  // The loss of a row, and its gradient if wanted. Scratch is CtcScratch's.
  void (*ctc)(const CtcProblem<T>&, Index row, T* scratch, Worker&);

  // The cell alone, on rows of (B,G) and (B,H) arrays.
  void (*cell_forward)(Index units, Range rows, const T* z, const T* c_prev, T* h, T* c, T* gates);
  void (*cell_backward)(Index units, Range rows, const T* gates, const T* c_prev, const T* c, const T* dh,
                        const T* dc, T* dz, T* dc_prev);

  // Element [row, step, j] of (rows, steps, features) is kept where the hash of its index, without the step
  // when `share_steps`, is at least `threshold`, and then scaled.
  void (*dropout)(Range rows, Index steps, Index features, bool share_steps, std::uint64_t seed,
                  std::uint32_t threshold, T scale, Sequence<const T> x, T* y);

  // Adds the rows of dy (count, features) to the rows `ids` of sums, in the given columns.
  void (*scatter_rows)(const Index* ids, Index count, Index features, Range columns, const T* dy, T* sums);

  UpdateKernels<T, UpdateRules<T>> updates;
  double (*squared_norm)(Range, const T* values);

  // Runs `rounds` rounds of independent multiply-adds in registers; returns the operations done (2 per
  // multiply-add and lane). The peak that other rates are a fraction of.
  double (*multiply_adds)(Index rounds);
};

// Kernels that multiply shorter numbers, of a set or of one that extends it: ProductKernels or ByteKernels.
template <class Products>
struct ProductSet {
  const char* name;
  const Products& kernels;
};

struct KernelSet {
  const char* name;
  const Kernels<float>& f32;
  const Kernels<double>& f64;

  template <class T>
  const Kernels<T>& of() const {
    if constexpr (sizeof(T) == sizeof(float)) {
      return f32;
    } else {
      return f64;
    }
  }
};

}  // namespace fusedlstm
