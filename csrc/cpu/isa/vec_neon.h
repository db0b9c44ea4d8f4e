// Advanced SIMD of 64-bit Arm: 4 floats or 2 doubles, 32 registers.
#pragma once

#include <arm_neon.h>

namespace fusedlstm::FUSEDLSTM_ISA {

// The architecture has no masked memory access: tails go lane by lane.
template <class V, class T>
[[gnu::always_inline]] inline V load_lanes(const T* p, Index n) {
  T lanes[V::width] = {};
  for (Index j = 0; j < n; ++j) lanes[j] = p[j];
  return V::load(lanes);
}

template <class V, class T>
[[gnu::always_inline]] inline void store_lanes(V value, T* p, Index n) {
  T lanes[V::width];
  value.store(lanes);
  for (Index j = 0; j < n; ++j) p[j] = lanes[j];
}

template <>
struct Vec<float> {
  static constexpr Index width = 4;
  static constexpr int registers = 32;
  float32x4_t v;

  Vec() = default;
  Vec(float32x4_t value) : v(value) {}
  explicit Vec(float s) : v(vdupq_n_f32(s)) {}

  static Vec load(const float* p) { return vld1q_f32(p); }
  static Vec load(const float* p, AllLanes) { return load(p); }
  static Vec load_part(const float* row, int j) { return load(row + j * width); }
  static Vec load_part(const BFloat16* row, int j) {
    const uint32x4_t pair = vreinterpretq_u32_u16(vld1q_u16(&row[j / 2 * 2 * width].bits));
    return vreinterpretq_f32_u32(j % 2 == 0 ? vshlq_n_u32(pair, 16)
                                            : vandq_u32(pair, vdupq_n_u32(0xffff0000U)));
  }
  static Vec load(const float* p, Index n) { return n >= width ? load(p) : load_lanes<Vec>(p, n); }
  void store(float* p) const { vst1q_f32(p, v); }
  void store(float* p, AllLanes) const { store(p); }
  void store(float* p, Index n) const { n >= width ? store(p) : store_lanes(*this, p, n); }

  friend Vec operator+(Vec a, Vec b) { return vaddq_f32(a.v, b.v); }
  friend Vec operator-(Vec a, Vec b) { return vsubq_f32(a.v, b.v); }
  friend Vec operator*(Vec a, Vec b) { return vmulq_f32(a.v, b.v); }
  friend Vec operator/(Vec a, Vec b) { return vdivq_f32(a.v, b.v); }
  friend Vec fma(Vec a, Vec b, Vec c) { return vfmaq_f32(c.v, a.v, b.v); }
  // vminq and vmaxq return NaN where either operand is one; comparing and selecting keeps the contract.
  friend Vec min(Vec a, Vec b) { return vbslq_f32(vcltq_f32(a.v, b.v), a.v, b.v); }
  friend Vec max(Vec a, Vec b) { return vbslq_f32(vcgtq_f32(a.v, b.v), a.v, b.v); }
  friend Vec sqrt(Vec a) { return vsqrtq_f32(a.v); }
  friend Vec where_less(Vec a, Vec b, Vec x, Vec y) { return vbslq_f32(vcltq_f32(a.v, b.v), x.v, y.v); }
  friend Vec abs(Vec a) { return vabsq_f32(a.v); }
  friend Vec copysign(Vec a, Vec s) { return vbslq_f32(vdupq_n_u32(0x80000000U), s.v, a.v); }
  friend float sum_of_lanes(Vec a) { return vaddvq_f32(a.v); }
  friend float max_of_lanes(Vec a) { return vmaxvq_f32(a.v); }
  friend void keep_in_register(Vec& a) { asm("" : "+w"(a.v)); }
  friend Vec power_of(Vec a) {
    using F = FloatFormat<float>;
    const uint32x4_t bits = vshrq_n_u32(vreinterpretq_u32_f32(a.v), F::mantissa_bits);
    return Vec(vreinterpretq_f32_u32(vorrq_u32(bits, vdupq_n_u32(F::whole_bits)))) - Vec(F::whole);
  }
  friend Vec exp2_from_shifted(Vec t) {
    using F = FloatFormat<float>;
    const uint32x4_t n = vshlq_n_u32(vreinterpretq_u32_f32(t.v), F::mantissa_bits);
    return vreinterpretq_f32_u32(vaddq_u32(n, vdupq_n_u32(F::one_bits)));
  }

  void store_low_halves(std::int16_t* p) const { vst1_s16(p, vmovn_s32(vreinterpretq_s32_f32(v))); }

  void store_low_bytes(std::int8_t* p) const {
    const int16x4_t halves = vmovn_s32(vreinterpretq_s32_f32(v));
    const int8x8_t bytes = vmovn_s16(vcombine_s16(halves, halves));
    vst1_lane_s32(reinterpret_cast<std::int32_t*>(p), vreinterpret_s32_s8(bytes), 0);
  }
  static Vec from_integers(const float* p) { return vcvtq_f32_s32(vreinterpretq_s32_f32(vld1q_f32(p))); }

  // Products of two units' pairs in each half; they meet when the sums are complete.
  struct Integers {
    using Pair = int16x4_t;
    using Widened = int16x8_t;
    int32x4_t low, high;

    static Integers zero() { return {vdupq_n_s32(0), vdupq_n_s32(0)}; }
    static Pair repeat(const std::int16_t* p) { return vreinterpret_s16_s32(vdup_n_s32(word_at(p))); }
    static int16x8_t widen(const std::int8_t* p) { return vmovl_s8(vld1_s8(p)); }
    static int16x8_t even(const std::int8_t* p) {
      return vshrq_n_s16(vshlq_n_s16(vreinterpretq_s16_s8(vld1q_s8(p)), 8), 8);
    }
    static int16x8_t odd(const std::int8_t* p) { return vshrq_n_s16(vreinterpretq_s16_s8(vld1q_s8(p)), 8); }
    void add(Pair a, int16x8_t b) {
      low = vmlal_s16(low, vget_low_s16(b), a);
      high = vmlal_s16(high, vget_high_s16(b), a);
    }
    Vec total() const { return vcvtq_f32_s32(vpaddq_s32(low, high)); }
  };
};

template <>
struct Vec<double> {
  static constexpr Index width = 2;
  static constexpr int registers = 32;
  float64x2_t v;

  Vec() = default;
  Vec(float64x2_t value) : v(value) {}
  explicit Vec(double s) : v(vdupq_n_f64(s)) {}

  static Vec load(const double* p) { return vld1q_f64(p); }
  static Vec load(const double* p, AllLanes) { return load(p); }
  static Vec load_part(const double* row, int j) { return load(row + j * width); }
  static Vec load(const double* p, Index n) { return n >= width ? load(p) : load_lanes<Vec>(p, n); }
  void store(double* p) const { vst1q_f64(p, v); }
  void store(double* p, AllLanes) const { store(p); }
  void store(double* p, Index n) const { n >= width ? store(p) : store_lanes(*this, p, n); }

  friend Vec operator+(Vec a, Vec b) { return vaddq_f64(a.v, b.v); }
  friend Vec operator-(Vec a, Vec b) { return vsubq_f64(a.v, b.v); }
  friend Vec operator*(Vec a, Vec b) { return vmulq_f64(a.v, b.v); }
  friend Vec operator/(Vec a, Vec b) { return vdivq_f64(a.v, b.v); }
  friend Vec fma(Vec a, Vec b, Vec c) { return vfmaq_f64(c.v, a.v, b.v); }
  friend Vec min(Vec a, Vec b) { return vbslq_f64(vcltq_f64(a.v, b.v), a.v, b.v); }
  friend Vec max(Vec a, Vec b) { return vbslq_f64(vcgtq_f64(a.v, b.v), a.v, b.v); }
  friend Vec sqrt(Vec a) { return vsqrtq_f64(a.v); }
  friend Vec where_less(Vec a, Vec b, Vec x, Vec y) { return vbslq_f64(vcltq_f64(a.v, b.v), x.v, y.v); }
  friend Vec abs(Vec a) { return vabsq_f64(a.v); }
  friend Vec copysign(Vec a, Vec s) { return vbslq_f64(vdupq_n_u64(0x8000000000000000U), s.v, a.v); }
  friend double sum_of_lanes(Vec a) { return vaddvq_f64(a.v); }
  friend double max_of_lanes(Vec a) { return vmaxvq_f64(a.v); }
  friend void keep_in_register(Vec& a) { asm("" : "+w"(a.v)); }
  friend Vec power_of(Vec a) {
    using F = FloatFormat<double>;
    const uint64x2_t bits = vshrq_n_u64(vreinterpretq_u64_f64(a.v), F::mantissa_bits);
    return Vec(vreinterpretq_f64_u64(vorrq_u64(bits, vdupq_n_u64(F::whole_bits)))) - Vec(F::whole);
  }
  friend Vec exp2_from_shifted(Vec t) {
    using F = FloatFormat<double>;
    const uint64x2_t n = vshlq_n_u64(vreinterpretq_u64_f64(t.v), F::mantissa_bits);
    return vreinterpretq_f64_u64(vaddq_u64(n, vdupq_n_u64(F::one_bits)));
  }
};

}  // namespace fusedlstm::FUSEDLSTM_ISA
