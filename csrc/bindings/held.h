// Array arguments while kernels use them.
#pragma once

#include <pybind11/numpy.h>

#include <array>
#include <utility>

#include "../lstm.h"

namespace fusedlstm::bindings {

namespace py = pybind11;

// An array from its check on, or none. Other threads run while a kernel does, and some copies of arguments
// give them a turn before; whatever they do, the memory that was checked stays where it is and as large:
// - a strong reference keeps the array, whichever list or attribute it came from;
// - place, shape and strides are those of the check; the array's own can be assigned to;
// - a weak reference to the owner of the memory makes ndarray.resize, which would move the memory, raise
//   ValueError, with refcheck=False too.
// Numbers may still be written to by others; kernels then read some of the old ones and some of the new.
//
// The weak reference costs 30 nanoseconds an array, which a step of few units notices. Arrays that the call
// itself has just made need none; nor do those of others, if the call keeps none of them and its thread is
// the only one that runs Python.
enum class Pin { always, never };
Pin pin_beside_threads();

class Held {
 public:
  Held() = default;
  explicit Held(py::array array, Pin pin = Pin::always);
  static Held made_here(py::array array) { return Held(std::move(array), Pin::never); }

  explicit operator bool() const { return static_cast<bool>(array_); }
  // The array itself, or None.
  py::object object() const { return array_ ? array_ : py::none(); }
  py::array array() const { return py::reinterpret_borrow<py::array>(array_); }

  // The address is null and the size 0 where there is no array.
  void* data() const { return data_; }
  Index size() const { return size_; }
  // Axis by axis, for up to three axes; strides in bytes.
  Index shape(int axis) const { return shape_[static_cast<std::size_t>(axis)]; }
  Index strides(int axis) const { return strides_[static_cast<std::size_t>(axis)]; }

 private:
  static constexpr std::size_t axes = 3;

  py::object array_;
  py::object pin_;
  void* data_ = nullptr;
  Index size_ = 0;
  std::array<Index, axes> shape_{};
  std::array<Index, axes> strides_{};
};

template <class T>
const T* data_of(const Held& held) {
  return static_cast<const T*>(held.data());
}

template <class T>
T* mutable_data(const Held& held) {
  return static_cast<T*>(held.data());
}

// Elements between neighbours of a dimension.
template <class T>
Index stride_of(const Held& held, int dimension) {
  return held.strides(dimension) / static_cast<Index>(sizeof(T));
}

}  // namespace fusedlstm::bindings
