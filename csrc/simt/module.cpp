#include "module.h"

#include <pybind11/stl.h>

#include <variant>

#include "machine.h"

namespace py = pybind11;

namespace simt {
namespace {

using Shape = std::vector<py::ssize_t>;

// As numpy.empty, besides the name.
py::array empty(const std::variant<py::ssize_t, Shape>& extents, const py::object& number,
                const std::string& name) {
  const Shape* several = std::get_if<Shape>(&extents);
  const Shape shape = several != nullptr ? *several : Shape{std::get<py::ssize_t>(extents)};
  const py::dtype dtype = py::dtype::from_args(number);
  std::size_t bytes = static_cast<std::size_t>(dtype.itemsize());
  for (const py::ssize_t extent : shape) {
    if (extent < 0)
      throw py::value_error("shape: expected no negative extent, got " + std::to_string(extent));
    bytes *= static_cast<std::size_t>(extent);
  }
  void* memory = Machine::get().memory.allocate(bytes, "'" + name + "'");
  const py::capsule owner(memory, [](void* address) { Machine::get().memory.free(address); });
  return py::array(dtype, shape, memory, owner);
}

py::array array(const py::array& values, const std::string& name) {
  const Shape shape(values.shape(), values.shape() + values.ndim());
  const py::array copy = empty(shape, values.dtype(), name);
  copy[py::ellipsis()] = values;
  return copy;
}

void set_order(const std::string& order, std::uint64_t seed) {
  Machine& machine = Machine::get();
  if (order == "forward") {
    machine.order = Order::forward;
  } else if (order == "reverse") {
    machine.order = Order::reverse;
  } else if (order == "random") {
    machine.order = Order::random;
  } else {
    throw py::value_error("order: expected 'forward', 'reverse' or 'random', got '" + order + "'");
  }
  machine.seed = seed;
}

void set_device(int multiprocessors, std::size_t shared_per_block, std::size_t shared_per_multiprocessor) {
  constexpr std::size_t most = 256 * 1024;
  if (multiprocessors < 1) {
    throw py::value_error("multiprocessors: expected 1 at least, got " + std::to_string(multiprocessors));
  }
  if (shared_per_block > most) {
    throw py::value_error("shared_per_block: expected at most " + std::to_string(most) + " bytes, got " +
                          std::to_string(shared_per_block));
  }
  Machine::get().device = {.multiprocessors = multiprocessors,
                           .shared_per_block = shared_per_block,
                           .shared_per_multiprocessor = shared_per_multiprocessor};
}

}  // namespace

void bind_machine(py::module_& module) {
  // Local: two modules in one process have a Fault each.
  py::register_local_exception<Fault>(module, "Fault", PyExc_RuntimeError);
  module.def("empty", &empty, py::arg("shape"), py::arg("dtype"), py::arg("name") = "");
  module.def("array", &array, py::arg("values"), py::arg("name") = "");
  module.def("set_order", &set_order, py::arg("order"), py::arg("seed") = 0);
  module.def("set_device", &set_device, py::arg("multiprocessors") = 4,
             py::arg("shared_per_block") = 227 * 1024, py::arg("shared_per_multiprocessor") = 228 * 1024);
  module.def("switches", [] { return Machine::get().switches; });
}

}  // namespace simt
