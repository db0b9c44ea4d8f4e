// CUDA's vector types. Those of 16 bytes copy themselves member by member: a compiler may turn a plain copy
// of 16 bytes into a call that nobody announces.
#pragma once

#include "runtime.h"

using uint3 = simt::Index3;

struct dim3 {
  unsigned x;
  unsigned y;
  unsigned z;

  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

#define SIMT_VECTOR2(name, type)                           \
  struct alignas(2 * sizeof(type)) name##2 { type x, y; }; \
  inline name##2 make_##name##2(type x, type y) { return {x, y}; }

#define SIMT_VECTOR2_WIDE(name, type)                     \
  struct alignas(16) name##2 {                            \
    type x, y;                                            \
    name##2() = default;                                  \
    constexpr name##2(type x_, type y_) : x(x_), y(y_) {} \
    name##2(const name##2 & v) : x(v.x), y(v.y) {}        \
    name##2 & operator=(const name##2 & v) {              \
      x = v.x;                                            \
      y = v.y;                                            \
      return *this;                                       \
    }                                                     \
  };                                                      \
  inline name##2 make_##name##2(type x, type y) { return name##2(x, y); }

#define SIMT_VECTOR4(name, type, alignment)                                               \
  struct alignas(alignment) name##4 {                                                     \
    type x, y, z, w;                                                                      \
    name##4() = default;                                                                  \
    constexpr name##4(type x_, type y_, type z_, type w_) : x(x_), y(y_), z(z_), w(w_) {} \
    name##4(const name##4 & v) : x(v.x), y(v.y), z(v.z), w(v.w) {}                        \
    name##4 & operator=(const name##4 & v) {                                              \
      x = v.x;                                                                            \
      y = v.y;                                                                            \
      z = v.z;                                                                            \
      w = v.w;                                                                            \
      return *this;                                                                       \
    }                                                                                     \
  };                                                                                      \
  inline name##4 make_##name##4(type x, type y, type z, type w) { return name##4(x, y, z, w); }

SIMT_VECTOR2(float, float)
SIMT_VECTOR2(int, int)
SIMT_VECTOR2(uint, unsigned)
SIMT_VECTOR2(short, short)
SIMT_VECTOR2(ushort, unsigned short)
SIMT_VECTOR2_WIDE(double, double)
SIMT_VECTOR2_WIDE(longlong, long long)
SIMT_VECTOR2_WIDE(ulonglong, unsigned long long)
SIMT_VECTOR4(float, float, 16)
SIMT_VECTOR4(int, int, 16)
SIMT_VECTOR4(uint, unsigned, 16)
SIMT_VECTOR4(short, short, 8)
SIMT_VECTOR4(ushort, unsigned short, 8)
SIMT_VECTOR4(char, signed char, 4)
SIMT_VECTOR4(uchar, unsigned char, 4)

#undef SIMT_VECTOR2
#undef SIMT_VECTOR2_WIDE
#undef SIMT_VECTOR4
