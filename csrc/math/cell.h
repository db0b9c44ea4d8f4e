// The LSTM equations, written once, forward and backward, on any number type `V` that has arithmetic
// operators, `fma`, `sigmoid` and `tanh`: a SIMD vector, or a plain number.
//
//   i = sigmoid(z_i)   f = sigmoid(z_f)   g = tanh(z_g)   o = sigmoid(z_o)
//   c = f c_prev + i g                    h = o tanh(c)
//
// (Hochreiter and Schmidhuber 1997, with the forget gate of Gers, Schmidhuber and Cummins 2000.) What options
// change in them is said by a `Cell`: PlainCell, at no cost, or OptionCell. A layer-normalized cell has other
// z, and another c on its way to h.
#pragma once

#include "../inline.h"
#include "../lstm.h"

namespace fusedlstm {

template <class V>
struct Gates {
  V i, f, g, o;
};

template <class V>
struct CellValues {
  Gates<V> gates;
  V c;
};

template <class V>
struct CellGradients {
  Gates<V> z;  // gradients of the four pre-activations
  V c_prev;
  V c;  // of the update f c_prev + i g
};

// The equations as they stand above.
struct PlainCell {
  static constexpr bool has_options = false;

  template <class V>
  FUSEDLSTM_INLINE V gate(V z) const {
    return sigmoid(z);
  }
  template <class V>
  FUSEDLSTM_INLINE V candidate(V z) const {
    return tanh(z);
  }
  template <class V>
  FUSEDLSTM_INLINE V output(V c) const {
    return tanh(c);
  }
  // tanh(c) of a step whose h is known, for a third of its cost: sigmoid is never zero, and where h was too
  // small a number to be kept, so is every gradient that tanh(c) is a factor of.
  template <class V>
  FUSEDLSTM_INLINE V output_of_step(V, V o, V h) const {
    return h / o;
  }
  template <class V>
  FUSEDLSTM_INLINE V gate_slope(V y) const {
    return y * (V(1) - y);
  }
  template <class V>
  FUSEDLSTM_INLINE V candidate_slope(V y) const {
    return V(1) - y * y;
  }
  template <class V>
  FUSEDLSTM_INLINE V output_slope(V y) const {
    return V(1) - y * y;
  }
  // For second derivatives (second_order.h): the second one of an activation over the first.
  template <class V>
  FUSEDLSTM_INLINE V gate_curve(V y) const {
    return V(1) - (y + y);
  }
  template <class V>
  FUSEDLSTM_INLINE V candidate_curve(V y) const {
    return V(-2) * y;
  }
  template <class V>
  FUSEDLSTM_INLINE V output_curve(V y) const {
    return V(-2) * y;
  }

  // The cell state's part of the pre-activation of a gate, and the gradient that comes back to it.
  template <class V>
  FUSEDLSTM_INLINE V see(int, V z, V) const {
    return z;
  }
  template <class V>
  FUSEDLSTM_INLINE V seen(int, V, V dc) const {
    return dc;
  }
  template <class V>
  FUSEDLSTM_INLINE V forget(V, V z) const {
    return gate(z);
  }
  // The tangent of `forget`, whose value is f.
  template <class V>
  FUSEDLSTM_INLINE V forget_tangent(V, V z_dot, V f) const {
    return z_dot * gate_slope(f);
  }
  template <class V>
  FUSEDLSTM_INLINE Gates<V> through_update(const Gates<V>& gates, V c_prev, V dc) const {
    return {dc * gates.g, dc * c_prev, dc * gates.i, V(0)};
  }
  template <class V>
  FUSEDLSTM_INLINE V clip(V c) const {
    return c;
  }
  template <class V>
  FUSEDLSTM_INLINE V through_clip(V, V dc) const {
    return dc;
  }
};

// The values of the gates' and the candidate's activation at the two ends of what gate_clip lets through.
// Activations are monotonic: where the clip holds a pre-activation, the value is the lowest or the highest,
// bit for bit, and no gradient passes; elsewhere it is so only where the activation is flat.
template <class V>
struct ClipEnds {
  V low[2];
  V high[2];
};

template <class V, class T>
FUSEDLSTM_INLINE inline ClipEnds<V> clip_ends(const CellOptions<T>& options) {
  const Activation<T>* activations[2] = {&options.gate, &options.candidate};
  ClipEnds<V> ends;
  for (int which = 0; which < 2; ++which) {
    V value[2];
    for (int side = 0; side < 2; ++side) {
      value[side] = apply(*activations[which], V(side == 0 ? -options.gate_clip : options.gate_clip));
    }
    ends.low[which] = min(value[0], value[1]);
    ends.high[which] = max(value[0], value[1]);
  }
  return ends;
}

// With options:
//   z_i += p_i c_prev   z_f += p_f c_prev   z_o += p_o c       peepholes (Gers and Schmidhuber 2000)
//   f = 1 - i                                                   coupled gates (Greff et al. 2017)
//   c within [-clip, clip]                                      (Sak, Senior and Beaufays 2014)
//   z_i, z_f, z_g, z_o within [-clip, clip]                     (ONNX's clip, as ONNX Runtime has it)
// and other activations. `peepholes` are those of the vector's units.
template <class V, class T>
struct OptionCell {
  static constexpr bool has_options = true;
  const CellOptions<T>& options;
  V peepholes[3];                     // zeros where there are none
  const ClipEnds<V>* ends = nullptr;  // for backward with a gate_clip

  FUSEDLSTM_INLINE V gate(V z) const { return apply(options.gate, clip_gate(z)); }
  FUSEDLSTM_INLINE V candidate(V z) const { return apply(options.candidate, clip_gate(z)); }
  FUSEDLSTM_INLINE V output(V c) const { return apply(options.output, c); }
  FUSEDLSTM_INLINE V output_of_step(V c, V, V) const { return output(c); }
  FUSEDLSTM_INLINE V gate_slope(V y) const { return clipped_slope(0, y, slope(options.gate, y)); }
  FUSEDLSTM_INLINE V candidate_slope(V y) const { return clipped_slope(1, y, slope(options.candidate, y)); }
  FUSEDLSTM_INLINE V output_slope(V y) const { return slope(options.output, y); }
  FUSEDLSTM_INLINE V gate_curve(V y) const { return curve(options.gate, y); }
  FUSEDLSTM_INLINE V candidate_curve(V y) const { return curve(options.candidate, y); }
  FUSEDLSTM_INLINE V output_curve(V y) const { return curve(options.output, y); }

  FUSEDLSTM_INLINE V clip_gate(V z) const {
    const V limit(options.gate_clip);
    return options.gate_clip > T(0) ? min(limit, max(V(0) - limit, z)) : z;
  }
  FUSEDLSTM_INLINE V clipped_slope(int which, V y, V slope_there) const {
    if (ends == nullptr) return slope_there;
    return where_less(ends->low[which], y, where_less(y, ends->high[which], slope_there, V(0)), V(0));
  }

  FUSEDLSTM_INLINE V see(int which, V z, V c) const {
    return options.peepholes != nullptr ? fma(peepholes[which], c, z) : z;
  }
  FUSEDLSTM_INLINE V seen(int which, V dz, V dc) const {
    return options.peepholes != nullptr ? fma(peepholes[which], dz, dc) : dc;
  }
  FUSEDLSTM_INLINE V forget(V i, V z) const { return options.coupled ? V(1) - i : gate(z); }
  FUSEDLSTM_INLINE V forget_tangent(V i_dot, V z_dot, V f) const {
    return options.coupled ? V(0) - i_dot : z_dot * gate_slope(f);
  }
  FUSEDLSTM_INLINE Gates<V> through_update(const Gates<V>& gates, V c_prev, V dc) const {
    if (options.coupled) return {dc * (gates.g - c_prev), V(0), dc * gates.i, V(0)};
    return {dc * gates.g, dc * c_prev, dc * gates.i, V(0)};
  }
  FUSEDLSTM_INLINE V clip(V c) const {
    const V limit(options.cell_clip);
    return options.cell_clip > T(0) ? min(limit, max(V(0) - limit, c)) : c;
  }
  // Where the clip holds c, nothing passes.
  FUSEDLSTM_INLINE V through_clip(V c, V dc) const {
    return options.cell_clip > T(0) ? where_less(abs(c), V(options.cell_clip), dc, V(0)) : dc;
  }
};

template <class V, class Cell>
FUSEDLSTM_INLINE inline V new_cell(const Cell& cell, V i, V f, V g, V c_prev) {
  return cell.clip(fma(f, c_prev, i * g));
}

template <class V, class Cell>
FUSEDLSTM_INLINE inline CellValues<V> cell_forward(const Cell& cell, const Gates<V>& z, V c_prev) {
  const V i = cell.gate(cell.see(0, z.i, c_prev));
  const V f = cell.forget(i, cell.see(1, z.f, c_prev));
  const V g = cell.candidate(z.g);
  const V c = new_cell(cell, i, f, g, c_prev);
  return {{i, f, g, cell.gate(cell.see(2, z.o, c))}, c};
}

template <class V, class Cell>
FUSEDLSTM_INLINE inline V hidden_state(const Cell& cell, V o, V c) {
  return o * cell.output(c);
}

// From the gradients of c and of the output gate's pre-activation.
template <class V, class Cell>
FUSEDLSTM_INLINE inline CellGradients<V> update_backward(const Cell& cell, const Gates<V>& gates, V c_prev,
                                                         V c, V z_o, V dc) {
  const V dc_total = cell.through_clip(c, cell.seen(2, z_o, dc));
  const Gates<V> d = cell.through_update(gates, c_prev, dc_total);
  const Gates<V> z{d.i * cell.gate_slope(gates.i), d.f * cell.gate_slope(gates.f),
                   d.g * cell.candidate_slope(gates.g), z_o};
  return {z, cell.seen(0, z.i, cell.seen(1, z.f, dc_total * gates.f)), dc_total};
}

// `dh` and `dc` are what flows into this step's h and c from everything after it; `output` is the activation
// of c that made h.
template <class V, class Cell>
FUSEDLSTM_INLINE inline CellGradients<V> cell_backward(const Cell& cell, const Gates<V>& gates, V c_prev, V c,
                                                       V output, V dh, V dc) {
  const V z_o = dh * output * cell.gate_slope(gates.o);
  const V inner = fma(dh * gates.o, cell.output_slope(output), dc);
  return update_backward(cell, gates, c_prev, c, z_o, inner);
}

}  // namespace fusedlstm
