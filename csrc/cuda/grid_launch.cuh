// Launches of the grid kernels, which the files of single types instantiate.
#pragma once

#include <limits>
#include <stdexcept>
#include <string>

#include "grid_backward.cuh"
#include "grid_forward.cuh"
#include "grid_sequence.h"
#include "staged_backward.cuh"
#include "staged_forward.cuh"
#include "staged_sequence.h"

namespace fusedlstm::cuda {

template <class T, bool tensor_cores>
using FormatOf = std::conditional_t<tensor_cores, Mma<T>, Fma<T>>;

template <class S>
constexpr CellOptions<S> plain_options{.gate = {ActivationKind::sigmoid, S(0), S(0)},
                                       .candidate = {ActivationKind::tanh, S(0), S(0)},
                                       .output = {ActivationKind::tanh, S(0), S(0)},
                                       .peepholes = nullptr,
                                       .cell_clip = S(0),
                                       .coupled = false,
                                       .zoneout = {.c = 0, .h = 0, .drawn = false, .seed = 0},
                                       .gate_clip = S(0)};

template <class S>
WithOptions<S> options_or_plain(const CellOptions<S>* options) {
  return {options != nullptr ? *options : plain_options<S>};
}

template <GridForm form>
using FormConstant = std::integral_constant<GridForm, form>;

// Calls run(maker, form) with what options and layout ask for. Weights that are read anew at every step cost
// so much more than the cell that its plain form has no kernel of its own there.
template <bool tensor_cores, class S, class Run>
void with_grid_variant(const CellOptions<S>* options, const GridLayout& layout, const Run& run) {
  if (layout.form == GridForm::anew) {
    run(options_or_plain(options), FormConstant<GridForm::anew>{});
  } else if (options != nullptr) {
    run(WithOptions<S>{*options}, FormConstant<GridForm::wide>{});
  } else if (layout.form == GridForm::wide) {
    run(Plain{}, FormConstant<GridForm::wide>{});
  } else if constexpr (tensor_cores) {
    run(Plain{}, FormConstant<GridForm::narrow>{});
  }
}

inline void check_steps(Index steps) {
  if (steps > std::numeric_limits<int>::max()) {
    throw std::invalid_argument("steps: expected a number of 32 bits, got " + std::to_string(steps));
  }
}

template <class Layout>
Launch grid_shape(const char* name, const Layout& layout, cudaStream_t stream) {
  return {.name = name,
          .grid = dim3(static_cast<unsigned>(layout.unit_blocks), static_cast<unsigned>(layout.row_slices)),
          .block = dim3(grid_threads),
          .shared_bytes = layout.shared_bytes,
          .stream = stream,
          .cooperative = true};
}

template <class T, bool tensor_cores>
void grid_forward(const SequenceForward<T>& p, const CellOptions<StateOf<T>>* options,
                  const GridLayout& layout, void* workspace, cudaStream_t stream) {
  check_steps(p.steps);
  if (p.batch == 0 || p.units == 0) return;
  with_grid_variant<tensor_cores>(options, layout, [&]<class Maker, class Form>(const Maker& maker, Form) {
    launch(grid_shape("grid_forward", layout, stream),
           grid_forward_kernel<FormatOf<T, tensor_cores>, Form::value, Maker>, p, layout,
           static_cast<unsigned char*>(workspace), maker);
  });
}

template <class T, bool tensor_cores>
void grid_backward(const SequenceBackward<T>& p, const CellOptions<StateOf<T>>* options,
                   const GridLayout& layout, void* workspace, cudaStream_t stream) {
  check_steps(p.steps);
  if (p.batch == 0 || p.units == 0) return;
  with_grid_variant<tensor_cores>(options, layout, [&]<class Maker, class Form>(const Maker& maker, Form) {
    launch(grid_shape("grid_backward", layout, stream),
           grid_backward_kernel<FormatOf<T, tensor_cores>, Form::value, Maker>, p, layout,
           static_cast<unsigned char*>(workspace), maker);
  });
}

template <class T, bool tensor_cores>
void staged_forward(const SequenceForward<T>& p, const CellOptions<StateOf<T>>* options,
                    const StagedLayout& layout, void* workspace, cudaStream_t stream) {
  check_steps(p.steps);
  if (p.batch == 0 || p.units == 0) return;
  launch(grid_shape("staged_forward", layout, stream), staged_forward_kernel<FormatOf<T, tensor_cores>>, p,
         layout, static_cast<unsigned char*>(workspace), options_or_plain(options));
}

template <class T, bool tensor_cores>
void staged_backward(const SequenceBackward<T>& p, const CellOptions<StateOf<T>>* options,
                     const StagedLayout& layout, void* workspace, cudaStream_t stream) {
  check_steps(p.steps);
  if (p.batch == 0 || p.units == 0) return;
  launch(grid_shape("staged_backward", layout, stream), staged_backward_kernel<FormatOf<T, tensor_cores>>, p,
         layout, static_cast<unsigned char*>(workspace), options_or_plain(options));
}

}  // namespace fusedlstm::cuda
