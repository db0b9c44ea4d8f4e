// Instructions that kernels need beyond CUDA C++, as csrc/cuda/ptx.cuh has it in PTX. The comments are there.
#pragma once

#include <cmath>
#include <cstddef>

#include "atomics.h"
#include "builtins.h"
#include "float_bits.h"

namespace fusedlstm::cuda {

template <class T>
T* dynamic_shared() {
  return reinterpret_cast<T*>(simt::dynamic_shared());
}

inline void sync_grid(SIMT_SITE) {
  const unsigned blocks = gridDim.x * gridDim.y * gridDim.z;
  simt::arrive_at_blocks(nullptr, blocks, SIMT_HERE);
  simt::wait_for_blocks(nullptr, blocks, SIMT_HERE);
}
class BlockBarrier {
 public:
  BlockBarrier(unsigned* counter, unsigned blocks) : counter_(counter), blocks_(blocks) {}

  void arrive(SIMT_SITE) { simt::arrive_at_blocks(counter_, blocks_, SIMT_HERE); }
  void wait(SIMT_SITE) const { simt::wait_for_blocks(counter_, blocks_, SIMT_HERE); }
  void meet(SIMT_SITE) {
    arrive(simt_file, simt_line);
    wait(simt_file, simt_line);
  }

 private:
  unsigned* counter_;
  unsigned blocks_;
};

template <int bytes>
void copy_async(void* shared, const void* global, int valid = bytes) {
  static_assert(bytes == 4 || bytes == 8 || bytes == 16);
  simt::start_copy(shared, global, bytes, static_cast<std::size_t>(valid));
}
inline void copy_async_commit() { simt::commit_copies(); }
template <int groups>
void copy_async_wait() {
  simt::wait_for_copies(groups);
}

inline void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], const float (&c)[4],
                     SIMT_SITE) {
  simt::multiply_tiles(simt::Number::tf32, d, a, b, c, SIMT_HERE);
}
inline void mma_f16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], const float (&c)[4],
                    SIMT_SITE) {
  simt::multiply_tiles(simt::Number::float16, d, a, b, c, SIMT_HERE);
}
inline void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], const float (&c)[4],
                     SIMT_SITE) {
  simt::multiply_tiles(simt::Number::bfloat16, d, a, b, c, SIMT_HERE);
}

template <int count, bool transposed = false>
void load_matrices(unsigned (&registers)[count], const void* row, SIMT_SITE) {
  static_assert(count == 1 || count == 2 || count == 4);
  simt::load_matrices(count, transposed, registers, row, SIMT_HERE);
}

inline unsigned to_tf32(float x) { return simt::float_to_tf32(x); }

inline float exp2_approx(float x) { return std::exp2(x); }
inline float reciprocal_approx(float x) { return std::nextafter(1.0f / x, 0.0f); }

// Hardware's error is about 2^-11 of the value; this one has it by rounding to so many bits.
inline float tanh_approx(float x) {
  const float y = std::tanh(x);
  return simt::bits_to_float((simt::float_to_bits(y) + 0x1000u) & 0xffffe000u);
}

}  // namespace fusedlstm::cuda
