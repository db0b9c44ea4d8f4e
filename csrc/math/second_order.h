// Derivatives along a direction, and with them second derivatives: the tangents of the equations in cell.h.
//
// A direction moves everything that has a gradient: x, the weights, h0, c0. The tangent of a number along it
// is named number + `_dot`. Tangents of y, h and c are the derivative of forward along the direction (a
// Jacobian-vector product). With dy, dh and dc held still, forward and backward together compute the gradient
// of one number, and so the tangents of the gradients are its Hessian times the direction. As a Hessian is
// symmetric, they are also the gradients of <direction, gradients>, which is what differentiating backward
// asks for; and those of it with respect to dy, dh and dc are the tangents of y, h and c.
//
// Nothing is computed twice: tangents of gates come from the gates' tape, and the tangents of gates'
// gradients from both and from dh and dc of every step, which the first backward pass has kept.
#pragma once

#include "cell.h"

namespace fusedlstm {

// How much the peepholes of the vector's units move; NoDirection where there are none, at no cost.
struct NoDirection {
  template <class V>
  FUSEDLSTM_INLINE V see(int, V z_dot, V) const {
    return z_dot;
  }
  template <class V>
  FUSEDLSTM_INLINE V seen(int, V, V dc_dot) const {
    return dc_dot;
  }
};

template <class V>
struct PeepholeDirection {
  V peepholes_dot[3];

  FUSEDLSTM_INLINE V see(int which, V z_dot, V c) const { return fma(peepholes_dot[which], c, z_dot); }
  FUSEDLSTM_INLINE V seen(int which, V dz, V dc_dot) const { return fma(peepholes_dot[which], dz, dc_dot); }
};

// The cell of a step of which tangents are asked; `output` is the activation of c that made h.
template <class V>
struct CellState {
  Gates<V> gates;
  V c_prev;
  V c;
  V output;
};

template <class V>
struct CellTangents {
  Gates<V> gates;
  V c;
  V h;
};

// The tangents of cell_forward and hidden_state along z_dot and c_prev_dot.
template <class V, class Cell, class Direction>
[[gnu::always_inline]] inline CellTangents<V> cell_tangents(const Cell& cell, const Direction& direction,
                                                            const CellState<V>& at, const Gates<V>& z_dot,
                                                            V c_prev_dot) {
  const auto seen = [&](int which, V z, V c_dot, V c)
                        FUSEDLSTM_INLINE { return direction.see(which, cell.see(which, z, c_dot), c); };
  const Gates<V>& gates = at.gates;
  const V i = seen(0, z_dot.i, c_prev_dot, at.c_prev) * cell.gate_slope(gates.i);
  const V f = cell.forget_tangent(i, seen(1, z_dot.f, c_prev_dot, at.c_prev), gates.f);
  const V g = z_dot.g * cell.candidate_slope(gates.g);
  const V inner = fma(gates.f, c_prev_dot, fma(f, at.c_prev, fma(gates.i, g, i * gates.g)));
  const V c = cell.through_clip(at.c, inner);
  const V o = seen(2, z_dot.o, c, at.c) * cell.gate_slope(gates.o);
  return {{i, f, g, o}, c, fma(o, at.output, gates.o * (cell.output_slope(at.output) * c))};
}

// The first backward pass at a step: gradients of h, of c (that of the update f c_prev + i g) and
// of the gates' pre-activations; and what flows into the step of their tangents.
template <class V>
struct StepGradients {
  V dh;
  V dc;
  Gates<V> dz;
};

// The tangents of cell_backward, along the tangents of the cell and of what flows into the step.
template <class V, class Cell, class Direction>
[[gnu::always_inline]] inline CellGradients<V> cell_backward_tangents(
    const Cell& cell, const Direction& direction, const CellState<V>& at, const Gates<V>& gates_dot,
    V c_prev_dot, V c_dot, const StepGradients<V>& first, V dh_dot, V dc_dot) {
  const Gates<V>& gates = at.gates;
  const V slope = cell.output_slope(at.output);
  const V output_dot = slope * c_dot;
  const V slope_dot = cell.output_curve(at.output) * output_dot;
  // (dh output gate_slope(o))': the gradient of a gate, and the slope between gate and pre-activation.
  const V d_o = fma(dh_dot, at.output, first.dh * output_dot);
  const V z_o =
      fma(d_o, cell.gate_slope(gates.o), first.dh * at.output * (cell.gate_curve(gates.o) * gates_dot.o));
  const V inner =
      fma(dh_dot * gates.o, slope, fma(first.dh, fma(gates_dot.o, slope, gates.o * slope_dot), dc_dot));
  const V dc_total = cell.through_clip(at.c, direction.seen(2, first.dz.o, cell.seen(2, z_o, inner)));
  // The update is bilinear: its gradients' tangent has a part of each factor.
  const Gates<V> one = cell.through_update(gates, at.c_prev, dc_total);
  const Gates<V> other = cell.through_update(gates_dot, c_prev_dot, first.dc);
  const Gates<V> d = cell.through_update(gates, at.c_prev, first.dc);
  const auto through = [&](V d_dot, V d_gate, V slope_of, V curve_of, V gate_dot)
                           FUSEDLSTM_INLINE { return fma(d_dot, slope_of, d_gate * (curve_of * gate_dot)); };
  const Gates<V> z{
      through(one.i + other.i, d.i, cell.gate_slope(gates.i), cell.gate_curve(gates.i), gates_dot.i),
      through(one.f + other.f, d.f, cell.gate_slope(gates.f), cell.gate_curve(gates.f), gates_dot.f),
      through(one.g + other.g, d.g, cell.candidate_slope(gates.g), cell.candidate_curve(gates.g),
              gates_dot.g),
      z_o};
  const V carried = fma(dc_total, gates.f, first.dc * gates_dot.f);
  const V own = cell.seen(0, z.i, cell.seen(1, z.f, carried));
  return {z, direction.seen(0, first.dz.i, direction.seen(1, first.dz.f, own)), dc_total};
}

}  // namespace fusedlstm
