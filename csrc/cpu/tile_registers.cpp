#include "tile_registers.h"

#if defined(__x86_64__) && defined(__linux__)
  #include <cpuid.h>
  #include <sys/syscall.h>
  #include <unistd.h>
#endif

namespace fusedlstm {

#if defined(__x86_64__) && defined(__linux__)
// Linux 5.16 (Documentation/arch/x86/xstate.rst): registers of kilobytes are given to those who ask.
bool has_tile_registers() {
  static const bool has = [] {
    unsigned a = 0;
    unsigned b = 0;
    unsigned c = 0;
    unsigned d = 0;
    constexpr unsigned bfloat16 = 1U << 22;
    constexpr unsigned tiles = 1U << 24;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
    if ((d & bfloat16) == 0 || (d & tiles) == 0) return false;
    constexpr long request = 0x1023;  // ARCH_REQ_XCOMP_PERM
    constexpr long tile_data = 18;    // XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, request, tile_data) == 0;
  }();
  return has;
}
#else
bool has_tile_registers() { return false; }
#endif

}  // namespace fusedlstm
