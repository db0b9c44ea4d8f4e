// One call of the sequence kernels: sizes, steps, panels of weights, the tape.
//
// The tape is what forward leaves for backward:
//   gates (P,T,B,4,width)  activated gates, in panels of `width` units, the vector width of the instruction
//   set;
//                          backward overwrites them with the gates' gradients
//   cells (T+1,B,H)        cell states, slot 0 holding the initial one
//   y     (B,T,R)          hidden states, which forward has to write anyway
//   m     (T,B,H)          what was projected, where there is a projection
// that is 4 P width + H numbers per row and step besides y and m, with P width the units filled up to whole
// vectors. tanh(c) is h / o, or m / o. In this layout a tile writes its gates in one piece, and a panel of
// gate gradients is the packed operand of a product as it lies there.
//
// No structure here owns memory: the caller allocates everything, scratch included, before work starts.
#pragma once

#include "../lstm.h"

namespace fusedlstm {

struct Sizes {
  Index batch;
  Index steps;
  Index inputs;
  Index units;
  Index outputs;  // R
};

// The real time steps of each row, seen through a window of `steps` steps. The recurrence visits only
// real steps: the s-th one of row b in the window happens at time(b, s), and those from length(b) on do not
// exist. Tapes are indexed by s, sequences by time.
struct Timeline {
  Index steps = 0;                      // of the window; without checkpoints it is the whole sequence
  Index total = 0;                      // T
  Index offset = 0;                     // of the window's first step
  const Index* lengths = nullptr;       // (B) real steps of each row, or null: all T
  const std::int32_t* times = nullptr;  // (B,T) time of each real step, or null: its number

  FUSEDLSTM_INLINE static Timeline whole(Index steps, const Index* lengths) {
    return {steps, steps, 0, lengths, nullptr};
  }

  FUSEDLSTM_INLINE Index length(Index b) const {
    const Index left = (lengths == nullptr ? total : lengths[b]) - offset;
    return left < 0 ? 0 : left < steps ? left : steps;
  }
  FUSEDLSTM_INLINE bool goes_on(Index b) const {
    return (lengths == nullptr ? total : lengths[b]) > offset + steps;
  }
  FUSEDLSTM_INLINE Index time(Index b, Index s) const {
    return times == nullptr ? offset + s : times[b * total + offset + s];
  }
};

// Hidden states of the steps of a window: in a sequence, by time; on a tape, by step; or in two slots in
// turn.
enum class Slots { times, steps, two };

template <class T>
struct HiddenStates {
  Sequence<T> states;
  Slots slots = Slots::times;

  HiddenStates<const T> only_read() const { return {{states.data, states.row, states.step}, slots}; }

  FUSEDLSTM_INLINE explicit operator bool() const { return static_cast<bool>(states); }
  FUSEDLSTM_INLINE T* at(const Timeline& timeline, Index b, Index s) const {
    switch (slots) {
      case Slots::times:
        return states.at(b, timeline.time(b, s));
      case Slots::steps:
        return states.at(b, s);
      case Slots::two:
        break;
    }
    return states.at(b, s % 2);
  }
};

// The gates' tape of so many steps and batch rows: panels of `rows` rows of `columns` = 4 width numbers. A
// tile reads its rows in every panel at once; were the panels a multiple of 32 KiB or so apart, those pieces
// would crowd into a few sets of a cache. So long panels get some unused rows, at most 63.
struct GateTape {
  Index batch;
  Index rows;
  Index columns;

  FUSEDLSTM_INLINE constexpr GateTape(Index steps, Index batch_rows, Index width)
      : batch(batch_rows), rows(steps * batch_rows), columns(kGates * width) {
    if (rows >= 256) rows += (97 - rows % 64) % 64;
  }
  // Elements from the beginning to a row of a panel and step, and in one panel.
  FUSEDLSTM_INLINE constexpr Index place(Index panel, Index step, Index b) const {
    return (panel * rows + step * batch + b) * columns;
  }
  FUSEDLSTM_INLINE constexpr Index panel_size() const { return rows * columns; }
};

// Half-open range of rows, panels or tiles: a thread's share of the work.
struct Range {
  Index begin;
  Index end;

  FUSEDLSTM_INLINE Index size() const { return end - begin; }
};

// A float32 without the lower half of its bits, which widens to a float32 again before it is multiplied.
struct BFloat16 {
  std::uint16_t bits;
};

// One that is multiplied as it is, by numbers that are rounded alike.
struct BFloat16Operand {
  std::uint16_t bits;
};

// A whole number that is multiplied by others of 8 bits.
struct Int8Operand {
  std::int8_t bits;
};

// Rows that instructions multiply and add at once, and whose weights lie side by side.
template <class W>
inline constexpr Index rows_at_once = 1;
template <>
inline constexpr Index rows_at_once<std::int8_t> = 2;
template <>
inline constexpr Index rows_at_once<BFloat16Operand> = 2;
template <>
inline constexpr Index rows_at_once<Int8Operand> = 4;

// Panels of such are filled up with zero rows, to whole pairs or to what a tile register takes.
template <class W>
inline constexpr Index row_multiple = rows_at_once<W>;
template <>
inline constexpr Index row_multiple<BFloat16Operand> = 32;
template <>
inline constexpr Index row_multiple<Int8Operand> = 64;

// After the rows of a panel of Int8Operand come the bytes of four more: each column's sum times -128, an
// integer of 32 bits, which takes off what is too much in a product with rows that had 128 added to be
// unsigned.
template <class W>
inline constexpr Index rows_of_sums = 0;
template <>
inline constexpr Index rows_of_sums<Int8Operand> = 4;

// Weights as the forward kernels read them: one panel holds the four gates of `width` units,
//   input (panels, I, 4, width), recurrent (panels, R, 4, width), bias (panels, 4, width),
// zero beyond H, so that a register tile meets i, f, g and o of the same units together; or, of the
// projection (panels', H, 4 width), `4 width` columns, zero beyond R. For inference W may
// be narrower than T: BFloat16, whose rows interleave pairs of gates (i, f) and (g, o), (width, 2), so that
// one load of whole words serves two; or BFloat16Operand, int8 or Int8Operand, whose panels (panel_rows(K) /
// n, 4, width, n) interleave n = rows_at_once rows, the last two with a factor per column, input_scale and
// recurrent_scale (panels, 4, width).
template <class T, class W = T>
struct GatePanels {
  const W* input;
  const W* recurrent;
  const T* bias;
  const T* input_scale = nullptr;
  const T* recurrent_scale = nullptr;
  const W* projection = nullptr;  // or null for none
  const T* projection_scale = nullptr;
};

// The place in a panel of a weight of row k and one of its units.
template <class W>
FUSEDLSTM_INLINE constexpr Index place_in_panel(Index k, Index gate, Index unit, Index width) {
  constexpr Index n = rows_at_once<W>;
  if constexpr (n > 1) return ((k / n * kGates + gate) * width + unit) * n + k % n;
  if constexpr (sizeof(W) == 2) return kGates * k * width + 2 * ((gate / 2) * width + unit) + gate % 2;
  return (kGates * k + gate) * width + unit;
}

// Rows that a panel keeps for K of them.
template <class W>
FUSEDLSTM_INLINE constexpr Index panel_rows(Index K) {
  return (K + row_multiple<W> - 1) / row_multiple<W> * row_multiple<W> + rows_of_sums<W>;
}

// Transposed weights as the backward kernels read them: one panel holds `4 width` columns of
//   recurrent^T (panels, P 4 width, 4 width) and input^T (panels, P 4 width, 4 width), zero beyond R and I,
// with rows in the order of the gates' tape, and projection^T (panels, R, 4 width), zero beyond H. Panels of
// BFloat16Operand have panel_rows of these numbers of rows, in pairs as those of gates.
template <class T, class W = T>
struct TransposedPanels {
  const W* input;
  const W* recurrent;
  const W* projection;  // or null for none
};

// The tape of a layer-normalized cell besides cells, 4 P width + 4 numbers per row and step more than
// a plain one. In place of the gates, which backward makes again, there is norm(h U), overwritten with the
// gradients of h U: so much memory is slower to read and write than gates are to compute.
template <class T>
struct NormTape {
  T* input;    // norm(x W), laid out as the gates; backward overwrites it with the gradients of x W
  T* moments;  // (T,B,4): the factors of x W and of h U, the mean and the factor of c
};

// Vectors of scratch for each panel of a layer-normalized row on its way back: the four gates, then the
// gradients of their pre-activations; c; and the gradient of norm(c).
inline constexpr Index norm_scratch = kGates + 2;

// Vectors of sums over steps that backward keeps for each row and panel of a layer-normalized cell, in this
// order: four of each of the first, in that of the gates, one of gamma_cell and beta_cell, and three of
// peepholes where there are any.
struct NormSums {
  static constexpr int bias = 0;
  static constexpr int gamma_input = kGates;
  static constexpr int gamma_recurrent = 2 * kGates;
  static constexpr int gamma_cell = 3 * kGates;
  static constexpr int beta_cell = gamma_cell + 1;
  static constexpr int peepholes = beta_cell + 1;
  static constexpr int all = peepholes + 3;
};

template <class T>
FUSEDLSTM_INLINE constexpr Index layer_norm_sums(const CellOptions<T>* options) {
  return options != nullptr && options->peepholes != nullptr ? NormSums::all : NormSums::peepholes;
}

// The products of layer-normalized rows have panels with so many rows, a multiple of 16 and one: the pieces
// of a row are then spread over all sets of a cache.
FUSEDLSTM_INLINE constexpr Index norm_panel_rows(Index rows) { return (rows + 14) / 16 * 16 + 1; }

template <class T>
struct LayerNormGradients {
  T* gamma_input;
  T* gamma_recurrent;
  T* gamma_cell;
  T* beta_cell;
};

// The part of a problem that forward and backward have in common.
template <class T>
struct SequenceProblem {
  Sizes sizes;
  Timeline timeline;
  Sequence<const T> x;            // (B,T,I)
  const T* h0;                    // (B,R) or null for zeros
  const CellOptions<T>* options;  // or null for the plain cell
  // (B,R) factors of the hidden state on its way into the next step, or null; the products are kept in
  // `dropped`, where h is kept in `h`, and that of h0 in `dropped_h0`, null where h0 is.
  const T* recurrent_mask;
  const T* dropped_h0;
  const LayerNorm<T>* layer_norm;  // or null
  NormTape<T> norm;                // on tape with a layer_norm
  // Scratch of layer normalization, shared by threads that split the units, in panels with
  // norm_panel_rows(rows) rows. Forward: chunk row_block and row_block rows of products x W and h U, (panels,
  // rows, 4, width) each. Backward: row_block rows of dh, (panels of dh, rows, 4 width).
  T* products;
};

template <class T>
struct ForwardProblem : SequenceProblem<T> {
  HiddenStates<T> h;
  HiddenStates<T> m;  // null without a projection
  HiddenStates<T> dropped;
  T* cells;          // c_s at cells + (s + 1) * cells_step; the caller has filled slot 0 with c0
  Index cells_step;  // B * H on tape, 0 to update one (B,H) buffer in place
  T* gates;          // on tape, or null; with a layer_norm, norm(h U)

  FUSEDLSTM_INLINE T* hidden(Index b, Index s) const { return h.at(this->timeline, b, s); }
  // The left operand of the recurrent product of step s + 1.
  FUSEDLSTM_INLINE const T* recurrent(Index b, Index s) const {
    return (this->recurrent_mask != nullptr ? dropped : h).at(this->timeline, b, s);
  }
};

// Gradients of a call's arguments. Those of weights are wanted all, with null for what the cell does not have
// and for a bias's that is not wanted, or none.
template <class T>
struct ArgumentGradients {
  T* dh0;                          // (B,R), or null when not wanted
  T* dc0;                          // (B,H)
  Sequence<T> dx = {};             // (B,T,I), or null when not wanted
  T* dkernel = nullptr;            // (I,G)
  T* drecurrent_kernel = nullptr;  // (R,G)
  T* dbias = nullptr;              // (G)
  T* dpeepholes = nullptr;         // (3,H)
  T* dprojection = nullptr;        // (H,R)
  LayerNormGradients<T> dlayer_norm = {};
  // Rows in groups whose gradients of kernels and bias are sums of their own, one behind the other: the first
  // row of each, and the end of the last. No groups for one sum of all rows.
  Index group_count = 0;
  const Index* group_ends = nullptr;
};

// The first part, and states, are those of forward. dc0 is the gradient of the last cell state before, and
// that of c0 after. Only real steps of dx are written.
template <class T>
struct BackwardProblem : SequenceProblem<T>, ArgumentGradients<T> {
  const T* bias;  // (panels, 4, width), as it is in GatePanels
  HiddenStates<const T> h;
  HiddenStates<const T> m;
  HiddenStates<const T> dropped;
  const T* cells;        // (T+1,B,H)
  const T* activated;    // the tape's gates, or norm(h U)
  T* gates;              // out: gradients of the gates, in place or on a tape of their own
  T* dh_steps;           // (T,B,H) out: gradients of o tanh(c) at every step, for second derivatives, and
  T* dc_steps;           // those of f c_prev + i g; or null
  const T* next_gates;   // (P,B,4,width): gradients of the step after the window, for rows that go on there
  Sequence<const T> dy;  // (B,T,R) or null for zeros
  const T* dh;           // (B,R) gradient of the last hidden state, or null for zeros
  T* dh_kept;            // (B,R), where zoneout keeps h: what the step after hands to the state before it
  bool accumulate;       // add to the weight gradients instead of setting them
  // Memory of run_backward: for gradients of m projection (T,B,R), null without a projection; and for the
  // cells as they were before zoneout (T,B,H), null where peepholes do not need them.
  T* dprojected;
  T* new_cells;
  T* row_sums;  // (B, panels, layer_norm_sums, width): with layer_norm, kept from window to window
};

}  // namespace fusedlstm
