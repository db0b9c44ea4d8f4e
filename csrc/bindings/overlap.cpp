#include "overlap.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "module.h"

namespace fusedlstm::bindings {
namespace {

std::uintptr_t address_of(const Held& array) { return reinterpret_cast<std::uintptr_t>(array.data()); }

}  // namespace

Piece piece_of(const Held& array, Index element) { return {address_of(array), element * array.size()}; }

Rows rows_of(const Held& array, Index element) {
  const int last = static_cast<int>(array.array().ndim()) - 1;
  Rows rows{address_of(array), element * array.shape(last)};
  if (last == 0) return rows;
  rows.count = array.shape(0);
  rows.stride = array.strides(0);
  return rows;
}

bool overlap(const Piece& a, const Piece& b) {
  // Distances of addresses fit a signed number: no process has more than half of them.
  const auto distance = static_cast<Index>(b.first - a.first);
  return a.bytes > 0 && b.bytes > 0 && distance < a.bytes && -distance < b.bytes;
}

// Row i meets the piece if first - bytes < i stride < last, counted from the rows' first byte.
bool overlap(const Piece& piece, const Rows& rows) {
  if (piece.bytes == 0 || rows.bytes == 0 || rows.count == 0) return false;
  auto first = static_cast<Index>(piece.first - rows.first);
  Index stride = rows.stride;
  if (stride < 0) {
    // The last row is the lowest.
    first -= (rows.count - 1) * stride;
    stride = -stride;
  }
  const Index low = first - rows.bytes;
  const Index high = first + piece.bytes;
  if (stride == 0 || rows.count == 1) return low < 0 && high > 0;
  const Index lowest = low < 0 ? 0 : low / stride + 1;
  const Index highest = high > 0 ? (high - 1) / stride : -1;
  return lowest <= std::min(highest, rows.count - 1);
}

std::pair<std::size_t, std::size_t> first_conflict(const std::vector<UsedPiece>& used) {
  std::vector<std::size_t> order(used.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return used[a].piece.first < used[b].piece.first; });
  // Pieces by address: one meets a piece before it if it meets the one of these that ends last. Pieces that
  // are only read meet those alone that are written.
  const std::size_t none = used.size();
  std::size_t last_of_all = none;
  std::size_t last_written = none;
  const auto end_of = [&](std::size_t i) {
    return used[i].piece.first + static_cast<std::uintptr_t>(used[i].piece.bytes);
  };
  for (const std::size_t i : order) {
    if (used[i].piece.bytes == 0) continue;
    const std::size_t before = used[i].written ? last_of_all : last_written;
    if (before != none && end_of(before) > used[i].piece.first) return std::minmax(before, i);
    if (last_of_all == none || end_of(i) > end_of(last_of_all)) last_of_all = i;
    if (used[i].written && (last_written == none || end_of(i) > end_of(last_written))) last_written = i;
  }
  return {none, none};
}

// For arrays that lie on a device, whose addresses Python knows.
void bind_overlap(py::module_& module) {
  module.def("overlap", [](std::uintptr_t first, Index bytes, std::uintptr_t other, Index other_bytes,
                           Index count, Index stride) {
    return overlap(Piece{first, bytes}, Rows{other, other_bytes, count, stride});
  });
  module.def("first_conflict", [](const py::list& pieces) -> py::object {
    std::vector<UsedPiece> used;
    used.reserve(pieces.size());
    for (const py::handle& item : pieces) {
      const auto piece = py::reinterpret_borrow<py::tuple>(item);
      used.push_back(
          {{py::cast<std::uintptr_t>(piece[0]), py::cast<Index>(piece[1])}, py::cast<bool>(piece[2])});
    }
    const auto [first, second] = first_conflict(used);
    if (first == used.size()) return py::none();
    return py::make_tuple(first, second);
  });
}

}  // namespace fusedlstm::bindings
