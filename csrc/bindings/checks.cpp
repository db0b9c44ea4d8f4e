#include "checks.h"

#include <algorithm>
#include <cstdint>

namespace fusedlstm::bindings {
namespace {

std::string expected_shape(std::initializer_list<Dim> shape) {
  std::string text = "(";
  for (const Dim& dim : shape) {
    text += dim.letter;
    if (dim.length >= 0) text += "=" + std::to_string(dim.length);
    text += shape.size() == 1 ? "," : &dim == shape.end() - 1 ? "" : ", ";
  }
  return text + ")";
}

bool aligned_elements(const py::array& array) {
  const auto size = array.itemsize();
  if (reinterpret_cast<std::uintptr_t>(array.data()) % static_cast<std::uintptr_t>(size) != 0) return false;
  for (py::ssize_t i = 0; i < array.ndim(); ++i) {
    if (array.strides(i) % size != 0) return false;
  }
  return true;
}

py::array c_order_copy(const py::array& array) {
  return py::module_::import("numpy").attr("array")(array, py::arg("order") = "C", py::arg("copy") = true);
}

}  // namespace

std::string type_name(const py::handle& object) {
  return py::cast<std::string>(py::type::of(object).attr("__name__"));
}

std::string shape_text(const py::array& array) {
  std::string text = "(";
  for (py::ssize_t i = 0; i < array.ndim(); ++i) {
    text += std::to_string(array.shape(i));
    text += array.ndim() == 1 ? "," : i + 1 < array.ndim() ? ", " : "";
  }
  return text + ")";
}

Number number_type(const char* name, const py::handle& object) {
  const char* expected = "a NumPy array of float32 or float64";
  if (!py::isinstance<py::array>(object)) raise_type(name, expected, type_name(object));
  const py::dtype dtype = py::reinterpret_borrow<py::array>(object).dtype();
  if (dtype.is(py::dtype::of<float>())) return Number::f32;
  if (dtype.is(py::dtype::of<double>())) return Number::f64;
  // Equal but separate dtype objects are rare; the comparison costs more than the identity.
  if (dtype.equal(py::dtype::of<float>())) return Number::f32;
  if (dtype.equal(py::dtype::of<double>())) return Number::f64;
  raise_type(name, expected, "an array of " + py::cast<std::string>(py::str(dtype)));
}

py::array checked(const char* name, const py::handle& object, Number number,
                  std::initializer_list<Dim> shape) {
  if (number_type(name, object) != number) {
    raise_type(name, std::string("dtype ") + name_of(number) + " like the other arrays",
               number == Number::f64 ? "float32" : "float64");
  }
  py::array array = py::reinterpret_borrow<py::array>(object);
  bool fits = array.ndim() == static_cast<py::ssize_t>(shape.size());
  py::ssize_t i = 0;
  for (const Dim& dim : shape) {
    if (fits && dim.length >= 0 && array.shape(i) != dim.length) fits = false;
    ++i;
  }
  if (!fits) raise_value(name, "shape " + expected_shape(shape), "shape " + shape_text(array));
  return array;
}

py::array readable(const char* name, const py::handle& object, Number number,
                   std::initializer_list<Dim> shape) {
  py::array array = checked(name, object, number, shape);
  const py::ssize_t last = array.ndim() - 1;
  const bool direct = array.strides(last) == array.itemsize() || array.shape(last) <= 1;
  return direct && aligned_elements(array) ? array : c_order_copy(array);
}

py::array contiguous(const char* name, const py::handle& object, Number number,
                     std::initializer_list<Dim> shape) {
  py::array array = checked(name, object, number, shape);
  const bool direct = (array.flags() & py::array::c_style) != 0;
  return direct && aligned_elements(array) ? array : c_order_copy(array);
}

py::array writable(const char* name, const py::handle& object, Number number,
                   std::initializer_list<Dim> shape) {
  py::array array = checked(name, object, number, shape);
  if ((array.flags() & py::array::c_style) == 0 || !aligned_elements(array)) {
    raise_value(name, "a C-contiguous array to write to", "one with other strides");
  }
  if (!array.writeable()) raise_value(name, "a writable array", "a read-only one");
  return array;
}

}  // namespace fusedlstm::bindings
