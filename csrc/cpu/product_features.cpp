#include "product_features.h"

#if defined(__x86_64__)
  #include <cpuid.h>
  #if defined(__linux__)
    #include <sys/syscall.h>
    #include <unistd.h>
  #endif
#elif defined(__aarch64__) && defined(__linux__)
  #include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
  #include <sys/sysctl.h>
#endif

namespace fusedlstm {
namespace {

#if defined(__x86_64__)
struct Leaf {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
};

// Leaf 7, extended features; zeros where the processor has no such part.
Leaf features(unsigned part) {
  Leaf leaf;
  if (__get_cpuid_count(7, 0, &leaf.a, &leaf.b, &leaf.c, &leaf.d) == 0 || leaf.a < part) return {};
  if (part > 0) __get_cpuid_count(7, part, &leaf.a, &leaf.b, &leaf.c, &leaf.d);
  return leaf;
}
#endif

// Linux 5.16 (Documentation/arch/x86/xstate.rst): registers of kilobytes are given to those who ask.
[[maybe_unused]] bool has_tiles(unsigned numbers) {
#if defined(__x86_64__) && defined(__linux__)
  constexpr unsigned tiles = 1U << 24;
  const unsigned needed = tiles | numbers;
  if ((features(0).d & needed) != needed) return false;
  constexpr long request = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long tile_data = 18;    // XFEATURE_XTILEDATA
  static const bool given = syscall(SYS_arch_prctl, request, tile_data) == 0;
  return given;
#else
  static_cast<void>(numbers);
  return false;
#endif
}

}  // namespace

bool has_bfloat16_tiles() { return has_tiles(1U << 22); }

bool has_int8_tiles() { return has_tiles(1U << 25); }

bool has_avx_vnni() {
#if defined(__x86_64__)
  return (features(1).a & (1U << 4)) != 0;
#else
  return false;
#endif
}

bool has_dot_products() {
#if defined(__aarch64__) && defined(__linux__)
  constexpr unsigned long dot_products = 1UL << 20;  // HWCAP_ASIMDDP
  return (getauxval(AT_HWCAP) & dot_products) != 0;
#elif defined(__aarch64__) && defined(__APPLE__)
  int has = 0;
  auto size = sizeof has;
  return sysctlbyname("hw.optional.arm.FEAT_DotProd", &has, &size, nullptr, 0) == 0 && has != 0;
#else
  return false;
#endif
}

}  // namespace fusedlstm
