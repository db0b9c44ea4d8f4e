#include "dispatch.h"

#include <atomic>
#include <charconv>
#include <cstdlib>
#include <stdexcept>

#include "cores.h"
#include "team.h"

namespace fusedlstm {

// What kernels.cpp leaves of each instruction set that this library is built with.
#define FUSEDLSTM_SET(isa)                                                           \
  namespace isa {                                                                    \
  template <class T>                                                                 \
  const Kernels<T>& kernels();                                                       \
  template <>                                                                        \
  const Kernels<float>& kernels();                                                   \
  template <>                                                                        \
  const Kernels<double>& kernels();                                                  \
  inline const KernelSet& kernel_set() {                                             \
    static const KernelSet set{#isa, isa::kernels<float>(), isa::kernels<double>()}; \
    return set;                                                                      \
  }                                                                                  \
  }
FUSEDLSTM_SET(avx512)
FUSEDLSTM_SET(avx2)
FUSEDLSTM_SET(neon)
FUSEDLSTM_SET(scalar)
#undef FUSEDLSTM_SET

namespace {

// The sets that FUSEDLSTM_DISABLE names, with commas between; a name of another processor's set is no
// mistake.
std::vector<std::string_view> disabled_sets() {
  std::vector<std::string_view> names;
  const char* text = std::getenv("FUSEDLSTM_DISABLE");
  std::string_view rest(text != nullptr ? text : "");
  while (!rest.empty()) {
    const std::string_view name = rest.substr(0, rest.find(','));
    if (name != "avx512" && name != "avx2" && name != "neon") {
      throw std::invalid_argument("FUSEDLSTM_DISABLE: expected names among avx512, avx2, neon, got '" +
                                  std::string(name) + "'");
    }
    names.push_back(name);
    rest.remove_prefix(name.size() + (name.size() < rest.size() ? 1 : 0));
  }
  return names;
}

// The processor and the operating system: GCC's and Clang's run-time check covers both.
std::vector<const KernelSet*> usable_sets() {
  std::vector<const KernelSet*> sets;
#if defined(FUSEDLSTM_HAS_AVX512)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    sets.push_back(&avx512::kernel_set());
  }
#endif
#if defined(FUSEDLSTM_HAS_AVX2)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) sets.push_back(&avx2::kernel_set());
#endif
#if defined(FUSEDLSTM_HAS_NEON)
  sets.push_back(&neon::kernel_set());
#endif
  for (const std::string_view name : disabled_sets()) {
    std::erase_if(sets, [&](const KernelSet* set) { return name == set->name; });
  }
  sets.push_back(&scalar::kernel_set());
  return sets;
}

// Never destroyed: daemon threads may still compute while the process ends.
const std::vector<const KernelSet*>& usable() {
  static const auto* sets = new std::vector<const KernelSet*>(usable_sets());
  return *sets;
}

std::atomic<const KernelSet*> current{nullptr};

}  // namespace

std::vector<std::string> instruction_sets() {
  std::vector<std::string> names;
  for (const KernelSet* set : usable()) names.emplace_back(set->name);
  return names;
}

const KernelSet& kernels() {
  const KernelSet* set = current.load(std::memory_order_relaxed);
  return set != nullptr ? *set : *usable().front();
}

bool scalar_by_default() {
  return current.load(std::memory_order_relaxed) == nullptr && usable().size() == 1;
}

void set_instruction_set(std::string_view name) {
  std::string choices;
  for (const KernelSet* set : usable()) {
    if (name == set->name) {
      current.store(set, std::memory_order_relaxed);
      return;
    }
    choices += choices.empty() ? "" : ", ";
    choices += set->name;
  }
  throw std::invalid_argument("instruction set: expected one this machine can run (" + choices + "), got '" +
                              std::string(name) + "'");
}

void configure_from_environment() {
  usable();  // for the errors of FUSEDLSTM_DISABLE
  if (const char* name = std::getenv("FUSEDLSTM_INSTRUCTION_SET"); name != nullptr && *name != '\0') {
    try {
      set_instruction_set(name);
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument(std::string("FUSEDLSTM_INSTRUCTION_SET: ") + error.what());
    }
  }
  if (const char* text = std::getenv("FUSEDLSTM_NUM_THREADS"); text != nullptr && *text != '\0') {
    const std::string_view value(text);
    int count = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), count);
    if (error != std::errc() || end != value.data() + value.size() || count < 1 || count > max_threads) {
      throw std::invalid_argument("FUSEDLSTM_NUM_THREADS: expected a number from 1 to " +
                                  std::to_string(max_threads) + ", got '" + std::string(value) + "'");
    }
    set_threads_of_environment(count);
  }
  default_threads();  // here, since other threads may have been given cores of their own
}

}  // namespace fusedlstm
