#include "placement.h"

#if defined(__linux__)
  #include <sched.h>

  #include <cstdlib>
#endif

namespace fusedlstm {

#if defined(__linux__)

int current_core() { return sched_getcpu(); }

void leave_core(int core) {
  constexpr int most_cores = 8192;
  const std::size_t size = CPU_ALLOC_SIZE(most_cores);
  cpu_set_t* const all = CPU_ALLOC(most_cores);
  cpu_set_t* const others = CPU_ALLOC(most_cores);
  if (all != nullptr && others != nullptr && sched_getaffinity(0, size, all) == 0) {
    CPU_ZERO_S(size, others);
    CPU_OR_S(size, others, others, all);
    CPU_CLR_S(static_cast<std::size_t>(core), size, others);
    // A set without any core is refused, and changes nothing.
    if (sched_setaffinity(0, size, others) == 0) sched_setaffinity(0, size, all);
  }
  CPU_FREE(others);
  CPU_FREE(all);
}

#else

int current_core() { return -1; }
void leave_core(int) {}

#endif

}  // namespace fusedlstm
