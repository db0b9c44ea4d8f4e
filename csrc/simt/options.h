// What fusedlstm.ops.CellOptions hands over as `given`; csrc/bindings/cell_options.h says what it is made of.
#pragma once

#include <pybind11/stl.h>

#include <cstdint>
#include <optional>
#include <tuple>

#include "../lstm.h"
#include "kernels.h"

namespace simt {

template <class T>
std::optional<fusedlstm::CellOptions<T>> options_of(const pybind11::object& given,
                                                    std::optional<std::uint64_t> zoneout_seed = {}) {
  namespace py = pybind11;
  using namespace fusedlstm;
  if (given.is_none()) return std::nullopt;
  const auto tuple = py::cast<py::tuple>(given);
  const auto activation = [&](std::size_t place) {
    const auto [kind, alpha, beta] = py::cast<std::tuple<std::int32_t, double, double>>(tuple[place]);
    return Activation<T>{static_cast<ActivationKind>(kind), static_cast<T>(alpha), static_cast<T>(beta)};
  };
  // The caller keeps the array alive.
  const T* peepholes = tuple[3].is_none() ? nullptr : py::cast<Array<T>>(tuple[3]).data();
  return CellOptions<T>{.gate = activation(0),
                        .candidate = activation(1),
                        .output = activation(2),
                        .peepholes = peepholes,
                        .cell_clip = static_cast<T>(py::cast<double>(tuple[4])),
                        .coupled = py::cast<bool>(tuple[5]),
                        .zoneout = {.c = py::cast<double>(tuple[7]),
                                    .h = py::cast<double>(tuple[6]),
                                    .drawn = zoneout_seed.has_value(),
                                    .seed = zoneout_seed.value_or(0)},
                        .gate_clip = static_cast<T>(py::cast<double>(tuple[9]))};
}

}  // namespace simt
