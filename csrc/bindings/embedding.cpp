// Embeddings on NumPy arrays.
#include "../cpu/embedding.h"

#include <algorithm>

#include "checks.h"
#include "gil.h"
#include "module.h"
#include "sizes.h"
#include "strict.h"

namespace fusedlstm::bindings {
namespace {

// Numbers of rows: of any shape, in C order, made by the Python layer.
using Ids = py::array_t<Index, py::array::c_style>;

std::string index_text(const py::array& array, Index flat) {
  std::string text;
  for (py::ssize_t i = array.ndim() - 1; i >= 0; --i) {
    text = std::to_string(flat % array.shape(i)) + (text.empty() ? "" : ", ") + text;
    flat /= array.shape(i);
  }
  return "(" + text + (array.ndim() == 1 ? ",)" : ")");
}

// The numbers, all of them in [0, rows). A copy: another thread may write others into the array while a
// kernel goes by these to rows of the table.
Buffer<Index> checked_ids(const std::string& name, const Ids& ids, Index rows) {
  constexpr Index block = 1'000'000;
  Buffer<Index> copy(ids.size());
  Signals signals;
  for (Index first = 0; first < ids.size(); first += block) {
    const Index end = std::min<Index>(first + block, ids.size());
    std::copy(ids.data() + first, ids.data() + end, copy.data() + first);
    for (Index n = first; n < end; ++n) {
      const Index id = copy.data()[n];
      if (id >= 0 && id < rows) continue;
      raise_value(name, "whole numbers in [0, " + std::to_string(rows) + ")",
                  std::to_string(id) + " at index " + index_text(ids, n));
    }
    signals.check_after(block);
  }
  return copy;
}

std::vector<py::ssize_t> with_features(const Ids& ids, Index features) {
  std::vector<py::ssize_t> shape(ids.shape(), ids.shape() + ids.ndim());
  shape.push_back(features);
  return shape;
}

py::array embedding_forward(const Ids& ids, const py::object& table) {
  const Number number = number_type("table", table);
  const Held rows = contiguous("table", table, number, {{"V"}, {"E"}});
  const Index E = rows.shape(1);
  const Buffer<Index> numbers = checked_ids("ids", ids, rows.shape(0));
  const Index count = ids.size();
  check_kernels();
  return with_number(number, [&](auto zero) {
    using T = decltype(zero);
    py::array y = new_array<T>(with_features(ids, E));
    T* out = mutable_data<T>(y);
    {
      LongCall unlocked;
      note_run(run_gather(numbers.data(), count, E, data_of<T>(rows), out));
      unlocked.finish();
    }
    return y;
  });
}

py::array embedding_backward(const Ids& ids, const py::object& dy, Index rows) {
  const Number number = number_type("dy", dy);
  const Held gradient = contiguous_of_any_shape("dy", dy, number);
  const py::array array = gradient.array();
  const py::ssize_t last = array.ndim() - 1;
  const Index E = last >= 0 ? array.shape(last) : 0;
  if (last != ids.ndim() || !std::equal(ids.shape(), ids.shape() + last, array.shape())) {
    raise_value("dy", "the shape of ids, " + shape_text(ids) + ", and one axis more",
                "shape " + shape_text(array));
  }
  if (rows < 1) raise_value("rows", "a positive number", std::to_string(rows));
  check_matrix_sizes("rows", {"V", rows}, {"E", E}, {"E", E});
  const Buffer<Index> numbers = checked_ids("ids", ids, rows);
  const Index count = ids.size();
  check_kernels();
  return with_number(number, [&](auto zero) {
    using T = decltype(zero);
    py::array dtable = new_array<T>({rows, E});
    if (E == 0) return dtable;  // However many rows it has.
    T* out = mutable_data<T>(dtable);
    {
      LongCall unlocked;
      note_run(run_scatter(numbers.data(), count, E, rows, data_of<T>(gradient), out));
      unlocked.finish();
    }
    return dtable;
  });
}

}  // namespace

void bind_embedding(py::module_& module) {
  module.def("check_ids",
             [](const std::string& name, const Ids& ids, Index rows) { checked_ids(name, ids, rows); });
  module.def("embedding_forward", &embedding_forward);
  module.def("embedding_backward", &embedding_backward);
}

}  // namespace fusedlstm::bindings
