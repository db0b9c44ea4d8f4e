// AVX2 and FMA: 8 floats or 4 doubles, 16 registers.
#pragma once

#include <immintrin.h>

namespace fusedlstm::FUSEDLSTM_ISA {

// A window into this table is a mask of n leading ones, for n = 0 .. 8.
alignas(64) inline constexpr std::int32_t lane_mask_table[16] = {-1, -1, -1, -1, -1, -1, -1, -1,
                                                                 0,  0,  0,  0,  0,  0,  0,  0};

template <>
struct Vec<float> {
  static constexpr Index width = 8;
  static constexpr int registers = 16;
  __m256 v;

  Vec() = default;
  Vec(__m256 value) : v(value) {}
  explicit Vec(float s) : v(_mm256_set1_ps(s)) {}

  static __m256i mask(Index n) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lane_mask_table + width - n));
  }
  static Vec load(const float* p) { return _mm256_loadu_ps(p); }
  static Vec load(const float* p, AllLanes) { return load(p); }
  static Vec load_part(const float* row, int j) { return load(row + j * width); }
  static Vec load_part(const BFloat16* row, int j) {
    const __m256i pair = load_words(row + j / 2 * 2 * width);
    return _mm256_castsi256_ps(j % 2 == 0 ? _mm256_slli_epi32(pair, 16)
                                          : _mm256_and_si256(pair, _mm256_set1_epi32(-65536)));
  }
  static __m256i load_words(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static Vec load(const float* p, Index n) {
    return n >= width ? load(p) : Vec(_mm256_maskload_ps(p, mask(n)));
  }
  void store(float* p) const { _mm256_storeu_ps(p, v); }
  void store(float* p, AllLanes) const { store(p); }
  void store(float* p, Index n) const { n >= width ? store(p) : _mm256_maskstore_ps(p, mask(n), v); }

  friend Vec operator+(Vec a, Vec b) { return _mm256_add_ps(a.v, b.v); }
  friend Vec operator-(Vec a, Vec b) { return _mm256_sub_ps(a.v, b.v); }
  friend Vec operator*(Vec a, Vec b) { return _mm256_mul_ps(a.v, b.v); }
  friend Vec operator/(Vec a, Vec b) { return _mm256_div_ps(a.v, b.v); }
  friend Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a.v, b.v, c.v); }
  friend Vec min(Vec a, Vec b) { return _mm256_min_ps(a.v, b.v); }
  friend Vec max(Vec a, Vec b) { return _mm256_max_ps(a.v, b.v); }
  friend Vec sqrt(Vec a) { return _mm256_sqrt_ps(a.v); }
  friend Vec where_less(Vec a, Vec b, Vec x, Vec y) {
    return _mm256_blendv_ps(y.v, x.v, _mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ));
  }
  friend Vec abs(Vec a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0F), a.v); }
  friend Vec copysign(Vec a, Vec s) {
    const __m256 sign = _mm256_set1_ps(-0.0F);
    return _mm256_or_ps(_mm256_andnot_ps(sign, a.v), _mm256_and_ps(sign, s.v));
  }
  friend float sum_of_lanes(Vec a) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  friend float max_of_lanes(Vec a) {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
  }
  friend void keep_in_register(Vec& a) { asm("" : "+x"(a.v)); }
  friend Vec power_of(Vec a) {
    using F = FloatFormat<float>;
    const __m256i bits = _mm256_srli_epi32(_mm256_castps_si256(a.v), F::mantissa_bits);
    return Vec(_mm256_castsi256_ps(_mm256_or_si256(bits, _mm256_set1_epi32(F::whole_bits)))) - Vec(F::whole);
  }
  friend Vec exp2_from_shifted(Vec t) {
    using F = FloatFormat<float>;
    const __m256i n = _mm256_slli_epi32(_mm256_castps_si256(t.v), F::mantissa_bits);
    return _mm256_castsi256_ps(_mm256_add_epi32(n, _mm256_set1_epi32(F::one_bits)));
  }

  void store_low_halves(std::int16_t* p) const {
    const __m256i halves = _mm256_shuffle_epi8(
        _mm256_castps_si256(v),
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, -1, -1, -1, -1, -1, -1, -1, -1)));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                     _mm256_castsi256_si128(_mm256_permute4x64_epi64(halves, 0b1000)));
  }

  void store_low_bytes(void* p) const {
    const __m256i bytes = _mm256_shuffle_epi8(
        _mm256_castps_si256(v), _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1,
                                                                          -1, -1, -1, -1, -1, -1)));
    const __m256i together = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 1, 1, 1, 1, 1));
    _mm_storel_epi64(static_cast<__m128i*>(p), _mm256_castsi256_si128(together));
  }
  static Vec from_integers(const float* p) {
    return _mm256_cvtepi32_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }

  struct Integers {
    using Pair = __m256i;
    using Widened = __m256i;
    __m256i v;

    static Integers zero() { return {_mm256_setzero_si256()}; }
    static Pair repeat(const std::int16_t* p) { return _mm256_set1_epi32(word_at(p)); }
    static __m256i widen(const std::int8_t* p) {
      return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    }
    static __m256i even(const std::int8_t* p) {
      const __m256i all = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
      return _mm256_srai_epi16(_mm256_slli_epi16(all, 8), 8);
    }
    static __m256i odd(const std::int8_t* p) {
      return _mm256_srai_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), 8);
    }
    void add(Pair a, __m256i b) { v = _mm256_add_epi32(v, _mm256_madd_epi16(a, b)); }
    Vec total() const { return _mm256_cvtepi32_ps(v); }
  };
};

template <>
struct Vec<double> {
  static constexpr Index width = 4;
  static constexpr int registers = 16;
  __m256d v;

  Vec() = default;
  Vec(__m256d value) : v(value) {}
  explicit Vec(double s) : v(_mm256_set1_pd(s)) {}

  static __m256i mask(Index n) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lane_mask_table + 2 * (width - n)));
  }
  static Vec load(const double* p) { return _mm256_loadu_pd(p); }
  static Vec load(const double* p, AllLanes) { return load(p); }
  static Vec load_part(const double* row, int j) { return load(row + j * width); }
  static Vec load(const double* p, Index n) {
    return n >= width ? load(p) : Vec(_mm256_maskload_pd(p, mask(n)));
  }
  void store(double* p) const { _mm256_storeu_pd(p, v); }
  void store(double* p, AllLanes) const { store(p); }
  void store(double* p, Index n) const { n >= width ? store(p) : _mm256_maskstore_pd(p, mask(n), v); }

  friend Vec operator+(Vec a, Vec b) { return _mm256_add_pd(a.v, b.v); }
  friend Vec operator-(Vec a, Vec b) { return _mm256_sub_pd(a.v, b.v); }
  friend Vec operator*(Vec a, Vec b) { return _mm256_mul_pd(a.v, b.v); }
  friend Vec operator/(Vec a, Vec b) { return _mm256_div_pd(a.v, b.v); }
  friend Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_pd(a.v, b.v, c.v); }
  friend Vec min(Vec a, Vec b) { return _mm256_min_pd(a.v, b.v); }
  friend Vec max(Vec a, Vec b) { return _mm256_max_pd(a.v, b.v); }
  friend Vec sqrt(Vec a) { return _mm256_sqrt_pd(a.v); }
  friend Vec where_less(Vec a, Vec b, Vec x, Vec y) {
    return _mm256_blendv_pd(y.v, x.v, _mm256_cmp_pd(a.v, b.v, _CMP_LT_OQ));
  }
  friend Vec abs(Vec a) { return _mm256_andnot_pd(_mm256_set1_pd(-0.0), a.v); }
  friend Vec copysign(Vec a, Vec s) {
    const __m256d sign = _mm256_set1_pd(-0.0);
    return _mm256_or_pd(_mm256_andnot_pd(sign, a.v), _mm256_and_pd(sign, s.v));
  }
  friend double sum_of_lanes(Vec a) {
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(a.v), _mm256_extractf128_pd(a.v, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
  }
  friend double max_of_lanes(Vec a) {
    const __m128d two = _mm_max_pd(_mm256_castpd256_pd128(a.v), _mm256_extractf128_pd(a.v, 1));
    return _mm_cvtsd_f64(_mm_max_sd(two, _mm_unpackhi_pd(two, two)));
  }
  friend void keep_in_register(Vec& a) { asm("" : "+x"(a.v)); }
  friend Vec power_of(Vec a) {
    using F = FloatFormat<double>;
    const __m256i bits = _mm256_srli_epi64(_mm256_castpd_si256(a.v), F::mantissa_bits);
    return Vec(_mm256_castsi256_pd(_mm256_or_si256(bits, _mm256_set1_epi64x(F::whole_bits)))) - Vec(F::whole);
  }
  friend Vec exp2_from_shifted(Vec t) {
    using F = FloatFormat<double>;
    const __m256i n = _mm256_slli_epi64(_mm256_castpd_si256(t.v), F::mantissa_bits);
    return _mm256_castsi256_pd(_mm256_add_epi64(n, _mm256_set1_epi64x(F::one_bits)));
  }
};

}  // namespace fusedlstm::FUSEDLSTM_ISA
