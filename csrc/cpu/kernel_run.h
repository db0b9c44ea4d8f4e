// The report of a call, for last_kernel().
#pragma once

namespace fusedlstm {

// How weights are kept: as they are, or, for inference in float32, in fewer bits; or as bfloat16 that is
// multiplied by bfloat16.
enum class Storage { full, bfloat16, int8, operands };

inline const char* name_of(Storage storage) {
  return storage == Storage::full ? "full" : storage == Storage::int8 ? "int8" : "bfloat16";
}

struct KernelRun {
  const char* operation = nullptr;
  const char* instruction_set = nullptr;
  bool is_double = false;
  int threads = 1;
  bool units_split = false;  // else the batch is
  Storage storage = Storage::full;
  const char* products = nullptr;  // the set that multiplies operands
  bool options = false;            // the cell has some
  bool projection = false;
  bool layer_norm = false;
};

}  // namespace fusedlstm
