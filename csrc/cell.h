// The LSTM equations, written once, forward and backward, on any number type `V` that has arithmetic
// operators, `fma`, `sigmoid` and `tanh`: a SIMD vector, or a plain number.
//
//   i = sigmoid(z_i)   f = sigmoid(z_f)   g = tanh(z_g)   o = sigmoid(z_o)
//   c = f c_prev + i g                    h = o tanh(c)
//
// (Hochreiter and Schmidhuber 1997, with the forget gate of Gers, Schmidhuber and Cummins 2000.)
#pragma once

namespace fusedlstm {

template <class V>
struct Gates {
  V i, f, g, o;
};

template <class V>
struct CellGradients {
  Gates<V> z;  // gradients of the four pre-activations
  V c_prev;
};

template <class V>
[[gnu::always_inline]] inline Gates<V> activate(const Gates<V>& z) {
  return {sigmoid(z.i), sigmoid(z.f), tanh(z.g), sigmoid(z.o)};
}

template <class V>
[[gnu::always_inline]] inline V next_cell(const Gates<V>& gates, V c_prev) {
  return fma(gates.f, c_prev, gates.i * gates.g);
}

template <class V>
[[gnu::always_inline]] inline V hidden_state(V o, V c) {
  return o * tanh(c);
}

// tanh(c) of a step whose h is known, for a third of its cost: sigmoid is never zero, and where h was too
// small a number to be kept, so is every gradient that tanh(c) is a factor of.
template <class V>
[[gnu::always_inline]] inline V tanh_of_cell(V o, V h) {
  return h / o;
}

// `dh` and `dc` are what flows into this step's h and c from everything after it.
template <class V>
[[gnu::always_inline]] inline CellGradients<V> cell_backward(const Gates<V>& gates, V c_prev, V tanh_c, V dh,
                                                             V dc) {
  const V one(1);
  const V dc_total = fma(dh * gates.o, one - tanh_c * tanh_c, dc);
  return {{dc_total * gates.g * gates.i * (one - gates.i), dc_total * c_prev * gates.f * (one - gates.f),
           dc_total * gates.i * (one - gates.g * gates.g), dh * tanh_c * gates.o * (one - gates.o)},
          dc_total * gates.f};
}

}  // namespace fusedlstm
