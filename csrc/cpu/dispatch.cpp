#include "dispatch.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "cores.h"
#include "instruction_sets.h"
#include "product_features.h"
#include "team.h"

namespace fusedlstm {

// Each set's kernels.cpp defines these two.
#define FUSEDLSTM_DECLARE(isa, usable) \
  namespace isa {                      \
  template <class T>                   \
  const Kernels<T>& kernels();         \
  template <>                          \
  const Kernels<float>& kernels();     \
  template <>                          \
  const Kernels<double>& kernels();    \
  }
FUSEDLSTM_SETS(FUSEDLSTM_DECLARE)
#undef FUSEDLSTM_DECLARE

// And each product set's products.cpp this one.
#define FUSEDLSTM_DECLARE(isa, extended, usable) \
  namespace isa {                                \
  const ProductKernels& products();              \
  }
FUSEDLSTM_PRODUCT_SETS(FUSEDLSTM_DECLARE)
#undef FUSEDLSTM_DECLARE
#define FUSEDLSTM_DECLARE(isa, extended, usable) \
  namespace isa {                                \
  const ByteKernels& products();                 \
  }
FUSEDLSTM_BYTE_SETS(FUSEDLSTM_DECLARE)
#undef FUSEDLSTM_DECLARE

namespace {

constexpr std::string_view runs_everywhere = "scalar";

// The sets that FUSEDLSTM_DISABLE names, with commas between; a name of another processor's set is no
// mistake.
std::vector<std::string_view> disabled_sets() {
  std::vector<std::string_view> names;
  const char* text = std::getenv("FUSEDLSTM_DISABLE");
  std::string_view rest(text != nullptr ? text : "");
  while (!rest.empty()) {
    const std::string_view name = rest.substr(0, rest.find(','));
    std::string choices;
    bool known = false;
    for (const std::string_view choice : {FUSEDLSTM_SET_NAMES}) {
      if (choice == runs_everywhere) continue;
      choices += choices.empty() ? "" : ", ";
      choices += choice;
      known = known || choice == name;
    }
    if (!known) {
      throw std::invalid_argument("FUSEDLSTM_DISABLE: expected names among " + choices + ", got '" +
                                  std::string(name) + "'");
    }
    names.push_back(name);
    rest.remove_prefix(name.size() + (name.size() < rest.size() ? 1 : 0));
  }
  return names;
}

// The processor and the operating system: GCC's and Clang's run-time check covers both.
std::vector<const KernelSet*> usable_sets() {
  const std::vector<std::string_view> disabled = disabled_sets();
  std::vector<const KernelSet*> sets;
  const auto add = [&](const KernelSet& set) {
    if (std::find(disabled.begin(), disabled.end(), set.name) == disabled.end()) sets.push_back(&set);
  };
#define FUSEDLSTM_ADD(isa, usable)                                                   \
  if (usable) {                                                                      \
    static const KernelSet set{#isa, isa::kernels<float>(), isa::kernels<double>()}; \
    add(set);                                                                        \
  }
  FUSEDLSTM_SETS(FUSEDLSTM_ADD)
#undef FUSEDLSTM_ADD
  return sets;
}

// Never destroyed: daemon threads may still compute while the process ends.
const std::vector<const KernelSet*>& usable() {
  static const auto* sets = new std::vector<const KernelSet*>(usable_sets());
  return *sets;
}

std::atomic<const KernelSet*> current{nullptr};
template <class Products>
std::atomic<const char*> current_products{nullptr};  // a set's name

// Calls add(name, the set that it extends, kernels) for each product set that this machine can run.
template <class Products, class Add>
void for_each_product_set([[maybe_unused]] const Add& add) {
#define FUSEDLSTM_ADD(isa, extended, usable) \
  if (usable) add(#isa, #extended, isa::products());
  if constexpr (std::is_same_v<Products, ProductKernels>) {
    FUSEDLSTM_PRODUCT_SETS(FUSEDLSTM_ADD)
  } else {
    FUSEDLSTM_BYTE_SETS(FUSEDLSTM_ADD)
  }
#undef FUSEDLSTM_ADD
}

template <class Products>
const Products& own_products(const KernelSet& set) {
  if constexpr (std::is_same_v<Products, ProductKernels>) {
    return set.f32.products;
  } else {
    return set.f32.bytes;
  }
}

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
  return current.load(std::memory_order_relaxed) == nullptr && usable().front()->name == runs_everywhere;
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

template <class Products>
std::vector<ProductSet<Products>> product_sets(const KernelSet& set) {
  std::vector<ProductSet<Products>> sets;
  const std::vector<std::string_view> disabled = disabled_sets();
  for_each_product_set<Products>([&](const char* name, const char* extended, const Products& kernels) {
    if (std::string_view(extended) != set.name) return;
    if (std::find(disabled.begin(), disabled.end(), name) == disabled.end()) sets.push_back({name, kernels});
  });
  sets.push_back({set.name, own_products<Products>(set)});
  return sets;
}

template <class Products>
ProductSet<Products> products(const KernelSet& set) {
  // The environment and the processor are asked once for each set.
  static const auto* all = [] {
    auto* found = new std::vector<std::pair<const KernelSet*, std::vector<ProductSet<Products>>>>;
    for (const KernelSet* one : usable()) found->emplace_back(one, product_sets<Products>(*one));
    return found;
  }();
  const char* wanted = current_products<Products>.load(std::memory_order_relaxed);
  for (const auto& [one, sets] : *all) {
    if (one != &set) continue;
    for (const ProductSet<Products>& products : sets) {
      if (wanted == nullptr || std::string_view(products.name) == wanted) return products;
    }
    return sets.front();
  }
  return {set.name, own_products<Products>(set)};
}

template <class Products>
bool products_by_default(const KernelSet& set) {
  return current_products<Products>.load(std::memory_order_relaxed) == nullptr &&
         std::string_view(products<Products>(set).name) == set.name;
}

template <class Products>
void set_product_set(std::string_view name) {
  auto& current_set = current_products<Products>;
  if (name.empty()) return current_set.store(nullptr, std::memory_order_relaxed);
  std::string choices;
  for (const ProductSet<Products>& set : product_sets<Products>(kernels())) {
    if (name == set.name) return current_set.store(set.name, std::memory_order_relaxed);
    choices += choices.empty() ? "" : ", ";
    choices += set.name;
  }
  throw std::invalid_argument("product set: expected one of " + choices + ", got '" + std::string(name) +
                              "'");
}

#define FUSEDLSTM_INSTANTIATE(Products)                                                \
  template std::vector<ProductSet<Products>> product_sets<Products>(const KernelSet&); \
  template ProductSet<Products> products<Products>(const KernelSet&);                  \
  template bool products_by_default<Products>(const KernelSet&);                       \
  template void set_product_set<Products>(std::string_view);
FUSEDLSTM_INSTANTIATE(ProductKernels)
FUSEDLSTM_INSTANTIATE(ByteKernels)
#undef FUSEDLSTM_INSTANTIATE

#define FUSEDLSTM_QUOTE(isa, usable) " " #isa
void configure_from_environment() {
  if (usable().empty()) {  // the scalar set, which runs everywhere, is not in a library of FUSEDLSTM_KERNELS
    throw std::invalid_argument(
        "instruction sets: expected one that this processor has and FUSEDLSTM_DISABLE does not name, got a "
        "library of" FUSEDLSTM_SETS(FUSEDLSTM_QUOTE) " alone");
  }
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
