// Arguments that Python hands to the bindings, as C++ has them.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <vector>

#include "../lstm.h"
#include "half_types.h"
#include "stream.h"

namespace fusedlstm::cuda {

namespace py = pybind11;

using Address = std::optional<std::uintptr_t>;

template <class T>
T* at(const Address& address) {
  return reinterpret_cast<T*>(address.value_or(0));
}

inline cudaStream_t stream_at(std::uintptr_t stream) { return reinterpret_cast<cudaStream_t>(stream); }

// A (B,T,features) array, with its strides in bytes.
struct StridedAddress {
  std::uintptr_t address;
  Index row;
  Index step;

  template <class T>
  Sequence<T> typed() const {
    constexpr auto size = static_cast<Index>(sizeof(T));
    return {reinterpret_cast<T*>(address), row / size, step / size};
  }
};

// Calls body with a value of the number type that has this name.
template <class Body>
void with_number_type(const std::string& name, const Body& body) {
  if (name == "float32") return body(float{});
  if (name == "float64") return body(double{});
  if (name == "float16") return body(__half{});
  if (name == "bfloat16") return body(__nv_bfloat16{});
  throw py::type_error("number: expected 'float32', 'float64', 'float16' or 'bfloat16', got '" + name + "'");
}

// Keyword arguments of a function that has many, by name. One that is left out is None, zero or false; names
// that nobody has asked for are an error.
class Arguments {
 public:
  explicit Arguments(const py::kwargs& given) : given_(given) { asked_.reserve(64); }

  template <class T>
  T get(const char* name) const {
    const py::object value = find(name);
    if (!value.is_none()) return py::cast<T>(value);
    return T{};
  }
  Index index(const char* name) const { return get<Index>(name); }
  bool flag(const char* name) const { return get<bool>(name); }
  py::object find(const char* name) const {
    asked_.emplace_back(name);
    PyObject* const value = PyDict_GetItemString(given_.ptr(), name);
    return value != nullptr ? py::reinterpret_borrow<py::object>(value) : py::none();
  }
  // The address of an array, or null.
  template <class T>
  T* at(const char* name) const {
    return reinterpret_cast<T*>(get<std::uintptr_t>(name));
  }
  void check_names(const char* function) const {
    for (const auto& [key, value] : given_) {
      const auto name = py::cast<std::string>(key);
      if (std::find(asked_.begin(), asked_.end(), name) == asked_.end()) {
        throw py::type_error(std::string(function) + ": unexpected argument '" + name + "'");
      }
    }
  }

 private:
  const py::kwargs& given_;
  // Names, which are literals. A call has too few for a set to be worth its making.
  mutable std::vector<std::string_view> asked_;
};

// The same for the number types of 32 and 64 bits, of kernels that have no others yet.
template <class Body>
void with_wide_type(const std::string& name, const Body& body) {
  with_number_type(name, [&](auto zero) {
    if constexpr (std::is_floating_point_v<decltype(zero)>) {
      body(zero);
    } else {
      throw py::type_error("number: expected float32 or float64, which have kernels, got " + name);
    }
  });
}

// None, or fusedlstm.ops.CellOptions.settings, read by name, with the address of its peepholes. Layer
// normalization is not looked at.
template <class T>
class GivenOptions {
 public:
  GivenOptions(const py::object& settings, const Address& peepholes,
               std::optional<std::uint64_t> zoneout_seed) {
    if (settings.is_none()) return;
    const auto number = [&](const char* name) { return py::cast<double>(settings.attr(name)); };
    const auto activation = [&](const char* name) {
      const auto [kind, alpha, beta] =
          py::cast<std::tuple<std::int32_t, double, double>>(settings.attr(name));
      return Activation<T>{static_cast<ActivationKind>(kind), static_cast<T>(alpha), static_cast<T>(beta)};
    };
    options_ = {.gate = activation("gate"),
                .candidate = activation("candidate"),
                .output = activation("output"),
                .peepholes = at<const T>(peepholes),
                .cell_clip = static_cast<T>(number("cell_clip")),
                .coupled = py::cast<bool>(settings.attr("coupled")),
                .zoneout = {.c = number("zoneout_c"),
                            .h = number("zoneout_h"),
                            .drawn = zoneout_seed.has_value(),
                            .seed = zoneout_seed.value_or(0)},
                .gate_clip = static_cast<T>(number("gate_clip"))};
  }
  const CellOptions<T>* get() const { return options_ ? &*options_ : nullptr; }

 private:
  std::optional<CellOptions<T>> options_;
};

}  // namespace fusedlstm::cuda
