// Atomics and cache operators. One thread runs at a time, so that an atomic is a checked read and write; what
// it must not collide with is a plain access without a barrier between.
#pragma once

#include <type_traits>

#include "runtime.h"

// For functions whose accesses are announced by hand, or are not the kernel's.
#define SIMT_UNCHECKED __attribute__((no_sanitize("thread"), noinline))

namespace simt {

// Puts f of what is there in its place; returns what was there.
template <class T, class F>
SIMT_UNCHECKED T update(T* address, const F& f) {
  check_atomic(address, sizeof(T));
  const T old = *const_cast<volatile T*>(address);
  *const_cast<volatile T*>(address) = f(old);
  return old;
}

}  // namespace simt

template <class T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  return simt::update(address, [=](T old) { return static_cast<T>(old + value); });
}
template <class T>
T atomicSub(T* address, std::type_identity_t<T> value) {
  return simt::update(address, [=](T old) { return static_cast<T>(old - value); });
}
template <class T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  return simt::update(address, [=](T old) { return old < value ? value : old; });
}
template <class T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  return simt::update(address, [=](T old) { return value < old ? value : old; });
}
template <class T>
T atomicOr(T* address, std::type_identity_t<T> value) {
  return simt::update(address, [=](T old) { return static_cast<T>(old | value); });
}
template <class T>
T atomicAnd(T* address, std::type_identity_t<T> value) {
  return simt::update(address, [=](T old) { return static_cast<T>(old & value); });
}
template <class T>
T atomicExch(T* address, std::type_identity_t<T> value) {
  return simt::update(address, [=](T) { return value; });
}
template <class T>
T atomicCAS(T* address, std::type_identity_t<T> compare, std::type_identity_t<T> value) {
  return simt::update(address, [=](T old) { return old == compare ? value : old; });
}

template <class T>
T __ldg(const T* address) {
  return *address;
}
template <class T>
T __ldca(const T* address) {
  return *address;
}
template <class T>
T __ldcg(const T* address) {
  return *address;
}
template <class T>
T __ldcs(const T* address) {
  return *address;
}
template <class T>
void __stcg(T* address, const T& value) {
  *address = value;
}
template <class T>
void __stcs(T* address, const T& value) {
  *address = value;
}
