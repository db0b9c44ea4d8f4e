// The report of a call, for last_kernel().
#pragma once

namespace fusedlstm {

// How weights are kept: as they are; for inference in float32, in fewer bits; as bfloat16 that is multiplied
// by bfloat16; or, for inference, as bytes that are multiplied by bytes.
enum class Storage { full, bfloat16, int8, operands, bytes };

// As users know them, who are told otherwise what is multiplied.
inline const char* name_of(Storage storage) {
  if (storage == Storage::full) return "full";
  return storage == Storage::int8 || storage == Storage::bytes ? "int8" : "bfloat16";
}

struct KernelRun {
  const char* operation = nullptr;
  const char* instruction_set = nullptr;
  bool is_double = false;
  int threads = 1;
  bool units_split = false;  // else the batch is
  Storage storage = Storage::full;
  const char* products = nullptr;  // the set that multiplies operands or bytes
  bool options = false;            // the cell has some
  bool projection = false;
  bool layer_norm = false;
};

}  // namespace fusedlstm
