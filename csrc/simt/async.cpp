// Asynchronous copies to shared memory. The bytes move as late as the wait allows, and until then nobody may
// touch them, so that a wait that is missing is found.
#include <cstring>
#include <string>

#include "machine.h"

namespace simt {
namespace {

std::vector<std::vector<Copy>>& groups_of(Thread& thread) {
  if (thread.copies.empty()) thread.copies.emplace_back();
  return thread.copies;
}

}  // namespace

void start_copy(void* shared, const void* global, std::size_t bytes, std::size_t copied) {
  Machine& machine = Machine::get();
  machine.note(__builtin_return_address(0));
  if (copied > bytes)
    fail("an asynchronous copy of " + std::to_string(copied) + " bytes to " + std::to_string(bytes));
  if (reinterpret_cast<std::uintptr_t>(shared) % bytes != 0 ||
      reinterpret_cast<std::uintptr_t>(global) % bytes != 0) {
    fail("misaligned: an asynchronous copy of " + std::to_string(bytes) +
         " bytes between addresses that are not multiples of that");
  }
  const auto to = reinterpret_cast<std::uintptr_t>(shared);
  const auto from = reinterpret_cast<std::uintptr_t>(global);
  if (copied > 0) {
    if (!machine.memory.contains(from)) fail("an asynchronous copy from memory that is not global");
    machine.check(from, copied, Access::read);
  }
  machine.check(to, bytes, Access::write);
  std::size_t offset = 0;
  Shadow* shadow = machine.shared_at(to, bytes, offset);
  if (shadow == nullptr) fail("an asynchronous copy to memory that is not shared");
  shadow->set_pending(offset, bytes);
  groups_of(machine.thread())
      .back()
      .push_back({static_cast<std::byte*>(shared), static_cast<const std::byte*>(global), bytes, copied});
}

void commit_copies() { groups_of(Machine::get().thread()).emplace_back(); }

void wait_for_copies(std::size_t groups_under_way) {
  Machine& machine = Machine::get();
  machine.note(__builtin_return_address(0));
  auto& groups = groups_of(machine.thread());
  // The last group is not committed, and no wait covers it.
  while (groups.size() - 1 > groups_under_way) {
    for (const Copy& copy : groups.front()) {
      const auto to = reinterpret_cast<std::uintptr_t>(copy.to);
      std::size_t offset = 0;
      machine.shared_at(to, copy.bytes, offset)->clear_pending(offset, copy.bytes);
      machine.check(to, copy.bytes, Access::write);
      if (copy.copied > 0) std::memcpy(copy.to, copy.from, copy.copied);
      std::memset(copy.to + copy.copied, 0, copy.bytes - copy.copied);
    }
    groups.erase(groups.begin());
  }
}

}  // namespace simt
