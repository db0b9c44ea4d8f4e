// AVX-512 (F, BW and DQ): 16 floats or 8 doubles, 32 registers, tails by mask registers.
#pragma once

#include <immintrin.h>

namespace fusedlstm::FUSEDLSTM_ISA {

template <>
struct Vec<float> {
  static constexpr Index width = 16;
  static constexpr int registers = 32;
  __m512 v;

  Vec() = default;
  Vec(__m512 value) : v(value) {}
  explicit Vec(float s) : v(_mm512_set1_ps(s)) {}

  static __mmask16 mask(Index n) { return static_cast<__mmask16>(n >= width ? 0xffffU : (1U << n) - 1U); }
  static Vec load(const float* p) { return _mm512_loadu_ps(p); }
  static Vec load(const float* p, AllLanes) { return load(p); }
  static Vec load_part(const float* row, int j) { return load(row + j * width); }
  static Vec load_part(const BFloat16* row, int j) {
    const __m512i pair = _mm512_loadu_si512(row + j / 2 * 2 * width);
    return _mm512_castsi512_ps(j % 2 == 0 ? _mm512_slli_epi32(pair, 16)
                                          : _mm512_and_si512(pair, _mm512_set1_epi32(-65536)));
  }
  static Vec load(const float* p, Index n) { return _mm512_maskz_loadu_ps(mask(n), p); }
  void store(float* p) const { _mm512_storeu_ps(p, v); }
  void store(float* p, AllLanes) const { store(p); }
  void store(float* p, Index n) const { _mm512_mask_storeu_ps(p, mask(n), v); }

  friend Vec operator+(Vec a, Vec b) { return _mm512_add_ps(a.v, b.v); }
  friend Vec operator-(Vec a, Vec b) { return _mm512_sub_ps(a.v, b.v); }
  friend Vec operator*(Vec a, Vec b) { return _mm512_mul_ps(a.v, b.v); }
  friend Vec operator/(Vec a, Vec b) { return _mm512_div_ps(a.v, b.v); }
  friend Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a.v, b.v, c.v); }
  friend Vec min(Vec a, Vec b) { return _mm512_min_ps(a.v, b.v); }
  friend Vec max(Vec a, Vec b) { return _mm512_max_ps(a.v, b.v); }
  friend Vec sqrt(Vec a) { return _mm512_sqrt_ps(a.v); }
  friend Vec where_less(Vec a, Vec b, Vec x, Vec y) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), y.v, x.v);
  }
  friend Vec abs(Vec a) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0F), a.v); }
  friend Vec copysign(Vec a, Vec s) {
    const __m512 sign = _mm512_set1_ps(-0.0F);
    return _mm512_or_ps(_mm512_andnot_ps(sign, a.v), _mm512_and_ps(sign, s.v));
  }
  friend float sum_of_lanes(Vec a) { return _mm512_reduce_add_ps(a.v); }
  friend float max_of_lanes(Vec a) { return _mm512_reduce_max_ps(a.v); }
  friend void keep_in_register(Vec& a) { asm("" : "+v"(a.v)); }
  friend Vec power_of(Vec a) {
    using F = FloatFormat<float>;
    const __m512i bits = _mm512_srli_epi32(_mm512_castps_si512(a.v), F::mantissa_bits);
    return Vec(_mm512_castsi512_ps(_mm512_or_si512(bits, _mm512_set1_epi32(F::whole_bits)))) - Vec(F::whole);
  }
  friend Vec exp2_from_shifted(Vec t) {
    using F = FloatFormat<float>;
    const __m512i n = _mm512_slli_epi32(_mm512_castps_si512(t.v), F::mantissa_bits);
    return _mm512_castsi512_ps(_mm512_add_epi32(n, _mm512_set1_epi32(F::one_bits)));
  }

  void store_low_halves(std::int16_t* p) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(_mm512_castps_si512(v)));
  }

  void store_low_bytes(void* p) const {
    _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_castps_si512(v)));
  }
  static Vec from_integers(const float* p) { return _mm512_cvtepi32_ps(_mm512_loadu_si512(p)); }

  struct Integers {
    using Pair = __m512i;
    using Widened = __m512i;
    __m512i v;

    static Integers zero() { return {_mm512_setzero_si512()}; }
    static Pair repeat(const std::int16_t* p) { return _mm512_set1_epi32(word_at(p)); }
    static __m512i widen(const std::int8_t* p) {
      return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    }
    static __m512i even(const std::int8_t* p) {
      return _mm512_srai_epi16(_mm512_slli_epi16(_mm512_loadu_si512(p), 8), 8);
    }
    static __m512i odd(const std::int8_t* p) { return _mm512_srai_epi16(_mm512_loadu_si512(p), 8); }
    void add(Pair a, __m512i b) { v = _mm512_add_epi32(v, _mm512_madd_epi16(a, b)); }
    Vec total() const { return _mm512_cvtepi32_ps(v); }
  };
};

template <>
struct Vec<double> {
  static constexpr Index width = 8;
  static constexpr int registers = 32;
  __m512d v;

  Vec() = default;
  Vec(__m512d value) : v(value) {}
  explicit Vec(double s) : v(_mm512_set1_pd(s)) {}

  static __mmask8 mask(Index n) { return static_cast<__mmask8>(n >= width ? 0xffU : (1U << n) - 1U); }
  static Vec load(const double* p) { return _mm512_loadu_pd(p); }
  static Vec load(const double* p, AllLanes) { return load(p); }
  static Vec load_part(const double* row, int j) { return load(row + j * width); }
  static Vec load(const double* p, Index n) { return _mm512_maskz_loadu_pd(mask(n), p); }
  void store(double* p) const { _mm512_storeu_pd(p, v); }
  void store(double* p, AllLanes) const { store(p); }
  void store(double* p, Index n) const { _mm512_mask_storeu_pd(p, mask(n), v); }

  friend Vec operator+(Vec a, Vec b) { return _mm512_add_pd(a.v, b.v); }
  friend Vec operator-(Vec a, Vec b) { return _mm512_sub_pd(a.v, b.v); }
  friend Vec operator*(Vec a, Vec b) { return _mm512_mul_pd(a.v, b.v); }
  friend Vec operator/(Vec a, Vec b) { return _mm512_div_pd(a.v, b.v); }
  friend Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_pd(a.v, b.v, c.v); }
  friend Vec min(Vec a, Vec b) { return _mm512_min_pd(a.v, b.v); }
  friend Vec max(Vec a, Vec b) { return _mm512_max_pd(a.v, b.v); }
  friend Vec sqrt(Vec a) { return _mm512_sqrt_pd(a.v); }
  friend Vec where_less(Vec a, Vec b, Vec x, Vec y) {
    return _mm512_mask_blend_pd(_mm512_cmp_pd_mask(a.v, b.v, _CMP_LT_OQ), y.v, x.v);
  }
  friend Vec abs(Vec a) { return _mm512_andnot_pd(_mm512_set1_pd(-0.0), a.v); }
  friend Vec copysign(Vec a, Vec s) {
    const __m512d sign = _mm512_set1_pd(-0.0);
    return _mm512_or_pd(_mm512_andnot_pd(sign, a.v), _mm512_and_pd(sign, s.v));
  }
  friend double sum_of_lanes(Vec a) { return _mm512_reduce_add_pd(a.v); }
  friend double max_of_lanes(Vec a) { return _mm512_reduce_max_pd(a.v); }
  friend void keep_in_register(Vec& a) { asm("" : "+v"(a.v)); }
  friend Vec power_of(Vec a) {
    using F = FloatFormat<double>;
    const __m512i bits = _mm512_srli_epi64(_mm512_castpd_si512(a.v), F::mantissa_bits);
    return Vec(_mm512_castsi512_pd(_mm512_or_si512(bits, _mm512_set1_epi64(F::whole_bits)))) - Vec(F::whole);
  }
  friend Vec exp2_from_shifted(Vec t) {
    using F = FloatFormat<double>;
    const __m512i n = _mm512_slli_epi64(_mm512_castpd_si512(t.v), F::mantissa_bits);
    return _mm512_castsi512_pd(_mm512_add_epi64(n, _mm512_set1_epi64(F::one_bits)));
  }
};

}  // namespace fusedlstm::FUSEDLSTM_ISA
