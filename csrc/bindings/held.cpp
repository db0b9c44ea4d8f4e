#include "held.h"

#include <algorithm>

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

bool has_other_threads() {
  PyThreadState* const first = PyInterpreterState_ThreadHead(PyInterpreterState_Get());
  return first == nullptr || PyThreadState_Next(first) != nullptr;
}

}  // namespace

Held::Held(py::array array, Pin pin) : data_(const_cast<void*>(array.data())), size_(array.size()) {
  const std::size_t count = std::min(axes, static_cast<std::size_t>(array.ndim()));
  std::copy_n(array.shape(), count, shape_.begin());
  std::copy_n(array.strides(), count, strides_.begin());
  PyObject* const owner = pin == Pin::always || has_other_threads() ? owner_of(array) : nullptr;
  if (owner != nullptr) {
    pin_ = py::reinterpret_steal<py::object>(PyWeakref_NewRef(owner, nullptr));
    if (!pin_) throw py::error_already_set();
  }
  array_ = std::move(array);
}

}  // namespace fusedlstm::bindings
