// Argument checks shared by the bindings. Every message names the argument, what was expected and what came.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "../cpu/buffer.h"
#include "../lstm.h"
#include "held.h"

namespace fusedlstm::bindings {

namespace py = pybind11;

enum class Number { f32, f64 };

template <class T>
inline constexpr Number number_of = sizeof(T) == sizeof(double) ? Number::f64 : Number::f32;

inline Index bytes_of(Number number) { return number == Number::f64 ? 8 : 4; }

inline const char* name_of(Number number) { return number == Number::f64 ? "float64" : "float32"; }

[[noreturn]] inline void raise_type(const std::string& name, const std::string& expected,
                                    const std::string& got) {
  throw py::type_error(name + ": expected " + expected + ", got " + got);
}

[[noreturn]] inline void raise_value(const std::string& name, const std::string& expected,
                                     const std::string& got) {
  throw py::value_error(name + ": expected " + expected + ", got " + got);
}

// MemoryError; `got` names the sizes.
[[noreturn]] void raise_memory(const std::string& got);

// One dimension of an expected shape: its letter, and its length once it is known.
struct Dim {
  const char* letter;
  Index length = -1;
};

inline std::span<const py::ssize_t> shape_of(const py::array& array) {
  return {array.shape(), static_cast<std::size_t>(array.ndim())};
}
std::string shape_text(std::span<const py::ssize_t> shape);
std::string shape_text(const py::array& array);
std::string type_name(const py::handle& object);

// The array's number type; TypeError unless it is a NumPy array of native float32 or float64.
Number number_type(const char* name, const py::handle& object);

// ValueError unless the array has this shape.
void check_shape(const char* name, const py::array& array, std::initializer_list<Dim> shape);

// Checks that `object` is an array of `number` with this shape.
py::array checked(const char* name, const py::handle& object, Number number,
                  std::initializer_list<Dim> shape);

// As `checked`, and elements can be read where they are: aligned, every stride a whole number of elements,
// the last dimension contiguous. An array that is not so is copied, or an error in strict mode.
Held readable(const char* name, const py::handle& object, Number number, std::initializer_list<Dim> shape,
              Pin pin = Pin::always);

// As `readable`, in C order throughout.
Held contiguous(const char* name, const py::handle& object, Number number, std::initializer_list<Dim> shape,
                Pin pin = Pin::always);

// As `contiguous`, or none for None.
Held optional_contiguous(const char* name, const py::handle& object, Number number,
                         std::initializer_list<Dim> shape);

// An array that will be written: C order and writable, never copied.
Held writable(const char* name, const py::handle& object, Number number, std::initializer_list<Dim> shape,
              Pin pin = Pin::always);

// As `contiguous` for an array of any shape.
Held contiguous_of_any_shape(const char* name, const py::handle& object, Number number);

// An array of the number type and of this shape, in C order and never copied; `written`: one that can be.
Held direct_like(const char* name, const py::handle& object, Number number, const py::array& like,
                 bool written, Pin pin = Pin::always);

// For an array that nobody else has yet; an argument's address is Held's.
template <class T>
T* mutable_data(const py::array& array) {
  return static_cast<T*>(const_cast<void*>(array.data()));
}

// Arrays from this size on take their memory from the cache of buffers: NumPy would get fresh pages from the
// system for each, which a call of a few milliseconds notices.
inline constexpr Index large_array_bytes = Index{1} << 16;

// Uninitialised, in C order. NumPy names the shape where it has no memory for it.
py::array small_array(const py::dtype& dtype, std::span<const py::ssize_t> shape);

template <class T>
py::array new_array(std::span<const py::ssize_t> shape) {
  CheckedSize bytes = Index{sizeof(T)};
  for (const py::ssize_t length : shape) bytes = bytes * length;
  if (!bytes.fits()) {
    raise_value("x", "sizes of a result that fits 64 bits", "those of " + shape_text(shape));
  }
  if (bytes.value() < large_array_bytes) return small_array(py::dtype::of<T>(), shape);
  std::unique_ptr<Buffer<T>> memory;
  try {
    memory = std::make_unique<Buffer<T>>(bytes.value() / Index{sizeof(T)});
  } catch (const std::bad_alloc&) {
    raise_memory("a result of shape " + shape_text(shape));
  }
  T* data = memory->data();
  const py::capsule owner(memory.get(), [](void* buffer) { delete static_cast<Buffer<T>*>(buffer); });
  static_cast<void>(memory.release());
  return py::array_t<T>(std::vector<py::ssize_t>(shape.begin(), shape.end()), data, owner);
}

template <class T>
py::array new_array(std::initializer_list<py::ssize_t> shape) {
  return new_array<T>(std::span(shape.begin(), shape.size()));
}

// A (B,T,features) array, or from its last step to its first.
template <class T>
Sequence<T> sequence_of(const Held& array, bool backwards = false) {
  Sequence<T> view{static_cast<T*>(array.data()), stride_of<T>(array, 0), stride_of<T>(array, 1)};
  if (backwards && array.shape(1) > 0) {
    view.data += (array.shape(1) - 1) * view.step;
    view.step = -view.step;
  }
  return view;
}

// Calls body with a value-initialised T of the number type.
template <class Body>
auto with_number(Number number, const Body& body) {
  return number == Number::f64 ? body(double{}) : body(float{});
}

}  // namespace fusedlstm::bindings
