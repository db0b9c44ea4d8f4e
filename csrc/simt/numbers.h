// __half and __nv_bfloat16: storage and conversions, rounded to nearest even. Kernels compute in float.
#pragma once

#include "float_bits.h"
#include "types.h"

struct __half {
  std::uint16_t simt_bits;

  __half() = default;
  __half(float value) : simt_bits(simt::float_to_half(value)) {}
  operator float() const { return simt::half_to_float(simt_bits); }
};
using half = __half;

struct __nv_bfloat16 {
  std::uint16_t simt_bits;

  __nv_bfloat16() = default;
  __nv_bfloat16(float value) : simt_bits(simt::float_to_bfloat16(value)) {}
  operator float() const { return simt::bfloat16_to_float(simt_bits); }
};

struct alignas(4) __half2 {
  __half x, y;
};
using half2 = __half2;

struct alignas(4) __nv_bfloat162 {
  __nv_bfloat16 x, y;
};

inline __half __float2half(float value) { return __half(value); }
inline __half __float2half_rn(float value) { return __half(value); }
inline float __half2float(__half value) { return value; }
inline __half2 __floats2half2_rn(float x, float y) { return {__half(x), __half(y)}; }
inline __half2 __halves2half2(__half x, __half y) { return {x, y}; }
inline float2 __half22float2(__half2 v) { return {v.x, v.y}; }
inline float __low2float(__half2 v) { return v.x; }
inline float __high2float(__half2 v) { return v.y; }
inline unsigned short __half_as_ushort(__half value) { return value.simt_bits; }
inline __half __ushort_as_half(unsigned short bits) {
  __half value;
  value.simt_bits = bits;
  return value;
}

inline __nv_bfloat16 __float2bfloat16(float value) { return __nv_bfloat16(value); }
inline __nv_bfloat16 __float2bfloat16_rn(float value) { return __nv_bfloat16(value); }
inline float __bfloat162float(__nv_bfloat16 value) { return value; }
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) { return {__nv_bfloat16(x), __nv_bfloat16(y)}; }
inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) { return {x, y}; }
inline float2 __bfloat1622float2(__nv_bfloat162 v) { return {v.x, v.y}; }
inline float __low2float(__nv_bfloat162 v) { return v.x; }
inline float __high2float(__nv_bfloat162 v) { return v.y; }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 value) { return value.simt_bits; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) {
  __nv_bfloat16 value;
  value.simt_bits = bits;
  return value;
}

inline int __float_as_int(float value) { return static_cast<int>(simt::float_to_bits(value)); }
inline unsigned __float_as_uint(float value) { return simt::float_to_bits(value); }
inline float __int_as_float(int bits) { return simt::bits_to_float(static_cast<unsigned>(bits)); }
inline float __uint_as_float(unsigned bits) { return simt::bits_to_float(bits); }
