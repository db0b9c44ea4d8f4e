// The report of a call, for last_kernel().
#pragma once

namespace fusedlstm {

// How weights are kept: as they are, or, for inference in float32, in fewer bits.
enum class Storage { full, bfloat16, int8 };

inline const char* name_of(Storage storage) {
  return storage == Storage::bfloat16 ? "bfloat16" : storage == Storage::int8 ? "int8" : "full";
}

struct KernelRun {
  const char* operation = nullptr;
  const char* instruction_set = nullptr;
  bool is_double = false;
  int threads = 1;
  bool units_split = false;  // else the batch is
  Storage storage = Storage::full;
  bool options = false;  // the cell has some
  bool projection = false;
  bool layer_norm = false;
};

}  // namespace fusedlstm
