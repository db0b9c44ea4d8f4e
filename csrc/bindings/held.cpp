#include "held.h"

namespace fusedlstm::bindings {
namespace {

// The array whose memory it is: views refer to the next one. Null where the memory is no array's.
PyObject* owner_of(const py::array& array) {
  PyObject* object = array.ptr();
  while (PyObject* base = py::detail::array_proxy(object)->base) {
    if (!py::isinstance<py::array>(base)) return nullptr;
    object = base;
  }
  return object;
}

}  // namespace

Pin pin_beside_threads() {
  PyThreadState* const first = PyInterpreterState_ThreadHead(PyInterpreterState_Get());
  const bool alone = first != nullptr && PyThreadState_Next(first) == nullptr;
  return alone ? Pin::never : Pin::always;
}

Held::Held(py::array array, Pin pin) : data_(const_cast<void*>(array.data())), size_(1) {
  const auto count = static_cast<std::size_t>(array.ndim());
  for (std::size_t axis = 0; axis < count; ++axis) {
    const Index length = array.shape()[axis];
    size_ *= length;
    if (axis >= axes) continue;
    shape_[axis] = length;
    strides_[axis] = array.strides()[axis];
  }
  PyObject* const owner = pin == Pin::always ? owner_of(array) : nullptr;
  if (owner != nullptr) {
    pin_ = py::reinterpret_steal<py::object>(PyWeakref_NewRef(owner, nullptr));
    if (!pin_) throw py::error_already_set();
  }
  array_ = std::move(array);
}

}  // namespace fusedlstm::bindings
