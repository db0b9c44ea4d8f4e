// Launches of the small kernels of 16-bit numbers, which the files of single types instantiate.
#pragma once

#include <cstdint>

#include "small_half_backward.cuh"
#include "small_half_forward.cuh"
#include "small_half_sequence.h"

namespace fusedlstm::cuda {

// Whether rows of so many units are whole pairs, at every one of these addresses or none.
template <class... P>
bool in_pairs(Index units, const P*... arrays) {
  const auto aligned = [](const auto* p) {
    return reinterpret_cast<std::uintptr_t>(p) % (2 * sizeof(*p)) == 0;
  };
  return units % 2 == 0 && (aligned(arrays) && ...);
}

// Calls run(maker, chunks, paired) with the kernel's constants. An odd H has one kernel: what it takes longer
// for, one by one, is not its product.
template <class Run>
void with_small_half_variant(const CellOptions<float>* options, Index units, bool paired, const Run& run) {
  with_maker(options, [&](const auto& maker) {
    if (!paired) {
      run(maker, std::integral_constant<int, 4>{}, std::false_type{});
    } else if (units <= 32) {
      run(maker, std::integral_constant<int, 1>{}, std::true_type{});
    } else if (units <= 64) {
      run(maker, std::integral_constant<int, 2>{}, std::true_type{});
    } else {
      run(maker, std::integral_constant<int, 4>{}, std::true_type{});
    }
  });
}

inline Launch small_half_shape(const char* name, Index batch, Index units, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>((batch + rows_of_group - 1) / rows_of_group);
  const auto warps = static_cast<unsigned>((units + units_of_warp - 1) / units_of_warp);
  return {.name = name, .grid = dim3(blocks), .block = dim3(32 * warps), .shared_bytes = 0, .stream = stream};
}

template <class T>
void small_half_forward(const SequenceForward<T>& p, const CellOptions<float>* options, cudaStream_t stream) {
  check_small(p.batch, p.units, p.steps);
  if (p.batch == 0 || p.units == 0) return;
  const bool paired = in_pairs(p.units, p.z_x, p.bias, p.recurrent_kernel, p.h0, p.c0, p.recurrent_mask, p.y,
                               p.h, p.c, p.gates, p.cells);
  with_small_half_variant(
      options, p.units, paired,
      [&]<class Maker, int chunks, bool in_pair>(const Maker& maker, std::integral_constant<int, chunks>,
                                                 std::bool_constant<in_pair>) {
        launch(small_half_shape("small_half_forward", p.batch, p.units, stream),
               small_half_forward_kernel<Mma<T>, chunks, in_pair, Maker>, p, maker);
      });
}

template <class T>
void small_half_backward(const SequenceBackward<T>& p, const CellOptions<float>* options,
                         cudaStream_t stream) {
  check_small(p.batch, p.units, p.steps);
  if (p.batch == 0 || p.units == 0) return;
  const bool paired = in_pairs(p.units, p.recurrent_kernel, p.recurrent_mask, p.cells, p.dy, p.dh, p.dc,
                               p.gates, p.dh0, p.dc0, p.dpeepholes);
  with_small_half_variant(
      options, p.units, paired,
      [&]<class Maker, int chunks, bool in_pair>(const Maker& maker, std::integral_constant<int, chunks>,
                                                 std::bool_constant<in_pair>) {
        launch(small_half_shape("small_half_backward", p.batch, p.units, stream),
               small_half_backward_kernel<Mma<T>, chunks, in_pair, Maker>, p, maker);
      });
}

}  // namespace fusedlstm::cuda
