// Edit distances of sequences in NumPy arrays.
#include "../cpu/edit_distance.h"

#include "checks.h"
#include "gil.h"
#include "module.h"

namespace fusedlstm::bindings {
namespace {

// Made by the Python layer: symbols of all sequences, and where each begins; the last number is where all
// end.
using Integers = py::array_t<Index, py::array::c_style>;

py::array edit_distances(const Integers& references, const Integers& reference_offsets,
                         const Integers& hypotheses, const Integers& hypothesis_offsets) {
  const Index count = reference_offsets.size() - 1;
  py::array distances = new_array<Index>({count});
  Index* out = mutable_data<Index>(distances);
  const SequenceList from{references.data(), reference_offsets.data()};
  const SequenceList to{hypotheses.data(), hypothesis_offsets.data()};
  LongCall unlocked;
  run_edit_distances(from, to, count, out);
  unlocked.finish();
  return distances;
}

}  // namespace

void bind_edit_distance(py::module_& module) { module.def("edit_distances", &edit_distances); }

}  // namespace fusedlstm::bindings
