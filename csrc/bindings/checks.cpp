#include "checks.h"

#include <algorithm>
#include <cstdint>
#include <optional>

#include "instruction_sets.h"
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

// A step of few units takes a processor little longer than its checks. So these read the fields of arrays and
// dtypes, where a call of NumPy would tell the same.

bool aligned_elements(const py::array& array, Number number) {
  auto bits = reinterpret_cast<std::uintptr_t>(array.data());
  const py::ssize_t* const strides = array.strides();
  for (py::ssize_t i = 0; i < array.ndim(); ++i) bits |= static_cast<std::uintptr_t>(strides[i]);
  return (bits & static_cast<std::uintptr_t>(bytes_of(number) - 1)) == 0;
}

// The number type of an array whose dtype is NumPy's own for it, or none.
std::optional<Number> usual_number(const py::array& array) {
  const auto* const dtype = py::detail::array_descriptor_proxy(py::detail::array_proxy(array.ptr())->descr);
  if (dtype->byteorder != '=') return std::nullopt;
  if (FUSEDLSTM_HAS_FLOAT && dtype->type_num == py::detail::npy_api::NPY_FLOAT_) return Number::f32;
  if (FUSEDLSTM_HAS_DOUBLE && dtype->type_num == py::detail::npy_api::NPY_DOUBLE_) return Number::f64;
  return std::nullopt;
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

std::string shape_text(std::span<const py::ssize_t> shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += std::to_string(shape[i]);
    text += shape.size() == 1 ? "," : i + 1 < shape.size() ? ", " : "";
  }
  return text + ")";
}

std::string shape_text(const py::array& array) { return shape_text(shape_of(array)); }

py::array small_array(const py::dtype& dtype, std::span<const py::ssize_t> shape) {
  const auto& numpy = py::detail::npy_api::get();
  // NumPy takes the reference to the dtype. pybind11's constructor would make two vectors on the way.
  PyObject* const array = numpy.PyArray_NewFromDescr_(
      numpy.PyArray_Type_, dtype.inc_ref().ptr(), static_cast<int>(shape.size()),
      reinterpret_cast<const Py_intptr_t*>(shape.data()), nullptr, nullptr, 0, nullptr);
  if (array == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::array>(array);
}

Number number_type(const char* name, const py::handle& object) {
  const char* expected = "a NumPy array of " FUSEDLSTM_NUMBER_NAMES;
  if (Py_TYPE(object.ptr()) != py::detail::npy_api::get().PyArray_Type_) {
    if (!py::isinstance<py::array>(object)) raise_type(name, expected, type_name(object));
    // A subclass may mean more than its numbers; one that does has masks.
    if (py::isinstance(object, py::module_::import("numpy.ma").attr("MaskedArray"))) {
      raise_type(name, expected, type_name(object) + ", whose mask kernels would not see");
    }
  }
  const auto array = py::reinterpret_borrow<py::array>(object);
  if (const auto number = usual_number(array)) return *number;
  // Others may be equal to them, as long double is to double where both have 64 bits.
  const py::dtype dtype = array.dtype();
  if (FUSEDLSTM_HAS_FLOAT && dtype.equal(py::dtype::of<float>())) return Number::f32;
  if (FUSEDLSTM_HAS_DOUBLE && dtype.equal(py::dtype::of<double>())) return Number::f64;
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

bool direct(const py::array& array, Number number) {
  return (array.flags() & py::array::c_style) != 0 && aligned_elements(array, number);
}

void check_direct(const char* name, const py::array& array, Number number, bool written) {
  if (!direct(array, number)) raise_value(name, direct_layout, "one of another layout");
  if (written && !array.writeable()) raise_value(name, "a writable array", "a read-only one");
}

}  // namespace

void check_shape(const char* name, const py::array& array, std::initializer_list<Dim> shape) {
  bool fits = array.ndim() == static_cast<py::ssize_t>(shape.size());
  py::ssize_t i = 0;
  for (const Dim& dim : shape) {
    if (fits && dim.length >= 0 && array.shape(i) != dim.length) fits = false;
    ++i;
  }
  if (!fits) raise_value(name, "shape " + expected_shape(shape), "shape " + shape_text(array));
}

py::array checked(const char* name, const py::handle& object, Number number,
                  std::initializer_list<Dim> shape) {
  py::array array = of_number(name, object, number);
  check_shape(name, array, shape);
  return array;
}

Held readable(const char* name, const py::handle& object, Number number, std::initializer_list<Dim> shape,
              Pin pin) {
  py::array array = checked(name, object, number, shape);
  const py::ssize_t last = array.ndim() - 1;
  const bool rows = array.strides(last) == bytes_of(number) || array.shape(last) <= 1 || array.size() == 0;
  if (rows && aligned_elements(array, number)) return Held(array, pin);
  return Held(c_order_copy(name, array, "an aligned array whose last dimension is contiguous"));
}

Held contiguous(const char* name, const py::handle& object, Number number, std::initializer_list<Dim> shape,
                Pin pin) {
  py::array array = checked(name, object, number, shape);
  return Held(direct(array, number) ? array : c_order_copy(name, array, direct_layout), pin);
}

Held optional_contiguous(const char* name, const py::handle& object, Number number,
                         std::initializer_list<Dim> shape) {
  return object.is_none() ? Held() : contiguous(name, object, number, shape);
}

Held writable(const char* name, const py::handle& object, Number number, std::initializer_list<Dim> shape,
              Pin pin) {
  py::array array = checked(name, object, number, shape);
  check_direct(name, array, number, true);
  return Held(array, pin);
}

Held contiguous_of_any_shape(const char* name, const py::handle& object, Number number) {
  py::array array = of_number(name, object, number);
  return Held(direct(array, number) ? array : c_order_copy(name, array, direct_layout));
}

Held direct_like(const char* name, const py::handle& object, Number number, const py::array& like,
                 bool written, Pin pin) {
  py::array array = of_number(name, object, number);
  if (!std::equal(array.shape(), array.shape() + array.ndim(), like.shape(), like.shape() + like.ndim())) {
    raise_value(name, "shape " + shape_text(like), "shape " + shape_text(array));
  }
  check_direct(name, array, number, written);
  return Held(array, pin);
}

}  // namespace fusedlstm::bindings
