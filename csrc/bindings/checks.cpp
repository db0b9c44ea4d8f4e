#include "checks.h"

#include <algorithm>
#include <cstdint>

#include "strict.h"

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

// `expected` is how the array would have to lie to be read where it is.
py::array c_order_copy(const char* name, const py::array& array, const char* expected) {
  fall_back(std::string(name) + ": expected " + expected + ", got one that must be copied");
  return py::module_::import("numpy").attr("array")(array, py::arg("order") = "C", py::arg("copy") = true);
}

}  // namespace

void raise_memory(const std::string& got) {
  PyErr_SetString(PyExc_MemoryError, ("x: expected sizes that there is memory for, got " + got).c_str());
  throw py::error_already_set();
}

std::string type_name(const py::handle& object) {
  const py::type type = py::type::of(object);
  const auto name = py::cast<std::string>(type.attr("__name__"));
  // CuPy's arrays have the same name as NumPy's.
  if (name == "ndarray" && !py::isinstance<py::array>(object)) {
    return py::cast<std::string>(type.attr("__module__")) + "." + name;
  }
  return name;
}

std::string shape_text(const std::vector<py::ssize_t>& shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += std::to_string(shape[i]);
    text += shape.size() == 1 ? "," : i + 1 < shape.size() ? ", " : "";
  }
  return text + ")";
}

std::string shape_text(const py::array& array) {
  return shape_text({array.shape(), array.shape() + array.ndim()});
}

Number number_type(const char* name, const py::handle& object) {
  const char* expected = "a NumPy array of float32 or float64";
  if (!py::isinstance<py::array>(object)) raise_type(name, expected, type_name(object));
  // A subclass may mean more than its numbers; one that does has masks.
  if (Py_TYPE(object.ptr()) != py::detail::npy_api::get().PyArray_Type_ &&
      py::isinstance(object, py::module_::import("numpy.ma").attr("MaskedArray"))) {
    raise_type(name, expected, type_name(object) + ", whose mask kernels would not see");
  }
  const py::dtype dtype = py::reinterpret_borrow<py::array>(object).dtype();
  if (dtype.is(py::dtype::of<float>())) return Number::f32;
  if (dtype.is(py::dtype::of<double>())) return Number::f64;
  // Equal but separate dtype objects are rare; the comparison costs more than the identity.
  if (dtype.equal(py::dtype::of<float>())) return Number::f32;
  if (dtype.equal(py::dtype::of<double>())) return Number::f64;
  raise_type(name, expected, "an array of " + py::cast<std::string>(py::str(dtype)));
}

namespace {

py::array of_number(const char* name, const py::handle& object, Number number) {
  if (number_type(name, object) != number) {
    raise_type(name, std::string("dtype ") + name_of(number) + " like the other arrays",
               number == Number::f64 ? "float32" : "float64");
  }
  return py::reinterpret_borrow<py::array>(object);
}

constexpr const char* direct_layout = "an aligned C-contiguous array";

bool direct(const py::array& array) {
  return (array.flags() & py::array::c_style) != 0 && aligned_elements(array);
}

void check_direct(const char* name, const py::array& array, bool written) {
  if (!direct(array)) raise_value(name, direct_layout, "one of another layout");
  if (written && !array.writeable()) raise_value(name, "a writable array", "a read-only one");
}

}  // namespace

py::array checked(const char* name, const py::handle& object, Number number,
                  std::initializer_list<Dim> shape) {
  py::array array = of_number(name, object, number);
  bool fits = array.ndim() == static_cast<py::ssize_t>(shape.size());
  py::ssize_t i = 0;
  for (const Dim& dim : shape) {
    if (fits && dim.length >= 0 && array.shape(i) != dim.length) fits = false;
    ++i;
  }
  if (!fits) raise_value(name, "shape " + expected_shape(shape), "shape " + shape_text(array));
  return array;
}

Held readable(const char* name, const py::handle& object, Number number, std::initializer_list<Dim> shape,
              Pin pin) {
  py::array array = checked(name, object, number, shape);
  const py::ssize_t last = array.ndim() - 1;
  const bool rows = array.strides(last) == array.itemsize() || array.shape(last) <= 1 || array.size() == 0;
  if (rows && aligned_elements(array)) return Held(array, pin);
  return Held(c_order_copy(name, array, "an aligned array whose last dimension is contiguous"));
}

Held contiguous(const char* name, const py::handle& object, Number number, std::initializer_list<Dim> shape,
                Pin pin) {
  py::array array = checked(name, object, number, shape);
  return Held(direct(array) ? array : c_order_copy(name, array, direct_layout), pin);
}

Held optional_contiguous(const char* name, const py::handle& object, Number number,
                         std::initializer_list<Dim> shape) {
  return object.is_none() ? Held() : contiguous(name, object, number, shape);
}

Held writable(const char* name, const py::handle& object, Number number, std::initializer_list<Dim> shape,
              Pin pin) {
  py::array array = checked(name, object, number, shape);
  check_direct(name, array, true);
  return Held(array, pin);
}

Held contiguous_of_any_shape(const char* name, const py::handle& object, Number number) {
  py::array array = of_number(name, object, number);
  return Held(direct(array) ? array : c_order_copy(name, array, direct_layout));
}

Held direct_like(const char* name, const py::handle& object, Number number, const py::array& like,
                 bool written) {
  py::array array = of_number(name, object, number);
  if (!std::equal(array.shape(), array.shape() + array.ndim(), like.shape(), like.shape() + like.ndim())) {
    raise_value(name, "shape " + shape_text(like), "shape " + shape_text(array));
  }
  check_direct(name, array, written);
  return Held(array);
}

}  // namespace fusedlstm::bindings
