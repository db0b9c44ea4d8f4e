// On which core a thread runs.
#pragma once

namespace fusedlstm {

// The core of the calling thread, or -1 where the system does not say.
int current_core();

// Moves the calling thread to another core, if it may run on one. It is not bound there: schedulers put a
// woken thread on the core of the one that woke it, and some never move it again, however idle others are.
void leave_core(int core);

}  // namespace fusedlstm
