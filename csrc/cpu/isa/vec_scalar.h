// Plain C++: the same kernels at width 1, for processors without a vector set of their own here, and the
// simplest thing to compare the others with.
#pragma once

namespace fusedlstm::FUSEDLSTM_ISA {

template <class T>
struct Vec {
  static constexpr Index width = 1;
  static constexpr int registers = 16;
  T v;

  Vec() = default;
  explicit Vec(T s) : v(s) {}

  static Vec load(const T* p) { return Vec(*p); }
  static Vec load(const T* p, AllLanes) { return load(p); }
  static Vec load_part(const T* row, int j) { return load(row + j); }
  static Vec load_part(const BFloat16* row, int j) {
    return Vec(__builtin_bit_cast(float, std::uint32_t{row[j].bits} << 16));
  }
  static Vec load(const T* p, Index n) { return n > 0 ? load(p) : Vec(0); }
  void store(T* p) const { *p = v; }
  void store(T* p, AllLanes) const { store(p); }
  void store(T* p, Index n) const {
    if (n > 0) store(p);
  }

  friend Vec operator+(Vec a, Vec b) { return Vec(a.v + b.v); }
  friend Vec operator-(Vec a, Vec b) { return Vec(a.v - b.v); }
  friend Vec operator*(Vec a, Vec b) { return Vec(a.v * b.v); }
  friend Vec operator/(Vec a, Vec b) { return Vec(a.v / b.v); }
  // Not the C library's fma, which is slow where the hardware has none; contraction is off, so that the
  // two roundings are the same in every tile.
  friend Vec fma(Vec a, Vec b, Vec c) { return Vec(a.v * b.v + c.v); }
  friend Vec min(Vec a, Vec b) { return Vec(a.v < b.v ? a.v : b.v); }
  friend Vec max(Vec a, Vec b) { return Vec(a.v > b.v ? a.v : b.v); }
  friend Vec sqrt(Vec a) {
    if constexpr (sizeof(T) == sizeof(float)) {
      return Vec(__builtin_sqrtf(a.v));
    } else {
      return Vec(__builtin_sqrt(a.v));
    }
  }
  friend Vec where_less(Vec a, Vec b, Vec x, Vec y) { return a.v < b.v ? x : y; }
  friend Vec abs(Vec a) { return from_bits(bits(a) & ~sign_bit); }
  friend Vec copysign(Vec a, Vec s) { return from_bits((bits(a) & ~sign_bit) | (bits(s) & sign_bit)); }
  friend T sum_of_lanes(Vec a) { return a.v; }
  friend T max_of_lanes(Vec a) { return a.v; }
  friend void keep_in_register(Vec&) {}
  friend Vec power_of(Vec a) {
    using F = FloatFormat<T>;
    return from_bits((bits(a) >> F::mantissa_bits) | F::whole_bits) - Vec(F::whole);
  }
  friend Vec exp2_from_shifted(Vec t) {
    return from_bits((bits(t) << FloatFormat<T>::mantissa_bits) + FloatFormat<T>::one_bits);
  }

  void store_low_halves(std::int16_t* p) const { *p = static_cast<std::int16_t>(bits(*this) & 0xffffU); }

  void store_low_bytes(std::int8_t* p) const { *p = static_cast<std::int8_t>(bits(*this) & 0xffU); }
  static Vec from_integers(const float* p) {
    return Vec(static_cast<T>(__builtin_bit_cast(std::int32_t, *p)));
  }

  struct Integers {
    using Pair = const std::int16_t*;
    struct Widened {
      std::int16_t first, second;
    };
    std::int32_t v;

    static Integers zero() { return {0}; }
    static Pair repeat(const std::int16_t* p) { return p; }
    static Widened widen(const std::int8_t* p) { return {p[0], p[1]}; }
    static Widened even(const std::int8_t* p) { return {p[0], p[2]}; }
    static Widened odd(const std::int8_t* p) { return {p[1], p[3]}; }
    void add(Pair a, Widened b) { v += a[0] * b.first + a[1] * b.second; }
    Vec total() const { return Vec(static_cast<T>(v)); }
  };

 private:
  using U = decltype(+FloatFormat<T>::one_bits);
  static constexpr U sign_bit = U{1} << (8 * sizeof(T) - 1);
  static U bits(Vec a) { return __builtin_bit_cast(U, a.v); }
  static Vec from_bits(U u) { return Vec(__builtin_bit_cast(T, u)); }
};

}  // namespace fusedlstm::FUSEDLSTM_ISA
