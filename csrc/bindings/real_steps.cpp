#include "real_steps.h"

#include <cstdint>
#include <string_view>

#include "gil.h"

namespace fusedlstm::bindings {
namespace {

// The array, if its dtype is one of these kinds and it has this shape.
py::array checked_kind(const char* name, const py::object& object, std::string_view kinds,
                       const char* expected, std::initializer_list<Dim> shape) {
  if (!py::isinstance<py::array>(object)) raise_type(name, expected, type_name(object));
  const auto array = py::reinterpret_borrow<py::array>(object);
  if (kinds.find(array.dtype().kind()) == kinds.npos) {
    raise_type(name, expected, "an array of " + py::cast<std::string>(py::str(array.dtype())));
  }
  check_shape(name, array, shape);
  return array;
}

}  // namespace

RealSteps checked_steps(const py::object& lengths, const py::object& mask, bool zero_output_for_mask,
                        bool go_backwards, Index batch, Index steps) {
  if (!lengths.is_none() && !mask.is_none()) raise_value("mask", "None together with lengths", "both");
  if (lengths.is_none() && mask.is_none()) return {};
  py::array_t<Index> counts;
  Held real;
  if (!lengths.is_none()) {
    const py::array array = checked_kind("lengths", lengths, "iu", "an array of integers", {{"B", batch}});
    counts = array.attr("astype")("int64");
    for (Index b = 0; array.dtype().kind() == 'u' && b < batch; ++b) {
      if (counts.at(b) >= 0) continue;  // else one beyond 63 bits
      raise_value("lengths", "numbers from 0 to T=" + std::to_string(steps),
                  std::to_string(static_cast<std::uint64_t>(counts.at(b))));
    }
  } else {
    real = Held(checked_kind("mask", mask, "b", "an array of booleans", {{"B", batch}, {"T", steps}}));
  }
  const Index* data = counts.data();
  LongCall unlocked;
  RealSteps result = real ? RealSteps::of_mask(sequence_of<const bool>(real, go_backwards), batch, steps,
                                               !zero_output_for_mask)
                          : RealSteps::of_lengths(data, batch, steps, go_backwards);
  unlocked.finish();
  return result;
}

}  // namespace fusedlstm::bindings
