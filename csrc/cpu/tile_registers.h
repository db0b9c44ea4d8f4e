// Tile registers (AMX), which a process has to ask the operating system for.
#pragma once

namespace fusedlstm {

// Whether this process may use them, to multiply bfloat16.
bool has_tile_registers();

}  // namespace fusedlstm
