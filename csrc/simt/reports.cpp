// Addresses that a kernel may use, and reports of those that it may not.
#include <algorithm>

#include "machine.h"

namespace simt {
namespace {

// Bytes of static shared memory in a block, on every device.
constexpr std::size_t static_limit = 48 * 1024;
// A thread that reads and writes so often between two waits is in an endless loop.
constexpr std::uint64_t most_accesses = std::uint64_t{1} << 32;

const char* verb(Access kind) {
  switch (kind) {
    case Access::read:
      return "reads";
    case Access::write:
      return "writes";
    case Access::atomic:
      break;
  }
  return "updates";
}

std::string place(const Site& site) {
  const std::string file = site.file;
  return file.substr(file.find_last_of('/') + 1) + ":" + std::to_string(site.line);
}

std::string byte_of(const Conflict& conflict) { return "byte " + std::to_string(conflict.offset) + " of "; }

}  // namespace

void Machine::find_identity() {
  const Thread& thread = *thread_;
  const Block& block = *thread.block;
  const auto threads = static_cast<std::uint32_t>(block.threads.size());
  const auto warps = static_cast<std::uint32_t>(block.warps.size());
  const std::uint32_t first = block.number * threads;
  identity_known_ = true;
  identity_ = {.thread = first + thread.number,
               .lane = thread.lane,
               .warp = thread.warp->number,
               .warp_first = first + thread.number - thread.lane,
               .block_first = first,
               .block_threads = threads,
               .block_first_warp = block.number * warps,
               .block_warps = warps,
               .stamp = block.stamp,
               .all_known = all_known_,
               .block_start = block.start,
               .clock = thread.clock,
               .known = thread.known,
               .blocks_known = grid_->cooperative ? block.known.data() : nullptr,
               .blocks = grid_->blocks.x * grid_->blocks.y * grid_->blocks.z};
}

Shadow* Machine::shared_at(std::uintptr_t address, std::size_t bytes, std::size_t& offset) const {
  const Block& block = *thread_->block;
  const MemoryRange dynamic{reinterpret_cast<std::uintptr_t>(block.dynamic), grid_->shared_bytes};
  if (dynamic.contains(address, bytes)) {
    offset = address - dynamic.begin;
    return block.dynamic_shadow.get();
  }
  if (locals_.contains(address, bytes)) {
    offset = address - locals_.begin;
    return block.static_shadow.get();
  }
  return nullptr;
}

void Machine::check(std::uintptr_t address, std::size_t bytes, Access kind) {
  if (bytes == 0) return;
  if (++accesses_ > most_accesses) abandon(*thread_, "does not come to an end");
  std::size_t offset = 0;
  if (Shadow* shadow = shared_at(address, bytes, offset)) {
    const Conflict conflict = shadow->access(identity(), offset, bytes, kind, true);
    if (conflict.finding == Finding::none) return;
    // Where a static array begins is known to the compiler alone.
    const bool dynamic = shadow == thread_->block->dynamic_shadow.get();
    report(conflict, kind, dynamic ? byte_of(conflict) + "dynamic shared memory" : "static shared memory");
  }
  if (memory.contains(address)) {
    const Allocation* array = memory.find(address);
    if (array == nullptr || array->freed || address - array->begin > array->bytes ||
        bytes > array->bytes - (address - array->begin)) {
      report_outside(address, bytes, kind);
    }
    const Conflict conflict = array->shadow->access(identity(), address - array->begin, bytes, kind, false);
    if (conflict.finding != Finding::none)
      report(conflict, kind, byte_of(conflict) + "device array " + array->name);
    return;
  }
  if (kind == Access::read) {
    const MemoryRange call{reinterpret_cast<std::uintptr_t>(grid_->call), grid_->call_bytes};
    if (call.contains(address, bytes) || image_.contains(address, bytes)) return;
  }
  report_outside(address, bytes, kind);
}

std::string Machine::name(std::uint32_t number) const {
  const auto threads = static_cast<std::uint32_t>(thread_->block->threads.size());
  const std::uint32_t own = thread_->block->number;
  if (number == own * threads + thread_->number) return "this thread";
  const std::string thread = "thread " + text(unravel(number % threads, grid_->threads));
  return number / threads == own ? thread
                                 : thread + " of block " + text(unravel(number / threads, grid_->blocks));
}

void Machine::report(const Conflict& conflict, Access kind, const std::string& memory_name) {
  const std::string what = std::string(verb(kind)) + " " + memory_name;
  const std::string other = conflict.other == Conflict::many ? "other threads" : name(conflict.other);
  switch (conflict.finding) {
    case Finding::uninitialised:
      abandon(*thread_, "uninitialised read: " + what + ", which this block has not written");
    case Finding::pending:
      abandon(*thread_, "asynchronous copy: " + what + ", which a copy by " + other + " is on its way to");
    default:
      break;
  }
  const char* before = conflict.before == Access::read    ? "read"
                       : conflict.before == Access::write ? "wrote"
                                                          : "updated";
  abandon(*thread_, "race: " + what + ", which " + other + " " + before + ", with no barrier between");
}

void Machine::report_outside(std::uintptr_t address, std::size_t bytes, Access kind) {
  const auto complain = [&](const char* kind_of_fault, std::uintptr_t begin, const std::string& memory_name) {
    const auto offset = static_cast<std::ptrdiff_t>(address - begin);
    const std::string last = std::to_string(offset + static_cast<std::ptrdiff_t>(bytes) - 1);
    abandon(*thread_, std::string(kind_of_fault) + ": " + verb(kind) + " bytes " + std::to_string(offset) +
                          " to " + last + " of " + memory_name);
  };
  const auto dynamic = reinterpret_cast<std::uintptr_t>(thread_->block->dynamic);
  if (address - (dynamic - arena_gap) < arena_bytes) {
    complain("out of bounds", dynamic,
             "dynamic shared memory, which has " + std::to_string(grid_->shared_bytes));
  }
  const Allocation* array = memory.contains(address) ? memory.find(address) : nullptr;
  if (array != nullptr) {
    complain(array->freed ? "use after free" : "out of bounds", array->begin,
             "device array " + array->name + ", which has " + std::to_string(array->bytes));
  }
  if (image_.contains(address, bytes)) abandon(*thread_, "writes to constant memory");
  abandon(*thread_, std::string("out of bounds: ") + verb(kind) + " " + std::to_string(bytes) +
                        " bytes that belong to no device array, nor to this block or thread");
}

void Machine::check_shared_size(const Block& block) {
  const std::size_t used = block.static_shadow->written_since(block.start);
  const std::string has = "too much shared memory: " + std::to_string(used) + " static bytes";
  if (used > static_limit) refuse(has + "; a block may have " + std::to_string(static_limit));
  if (used + grid_->shared_bytes > device.shared_per_block) {
    refuse(has + " and " + std::to_string(grid_->shared_bytes) + " dynamic ones; a block may have " +
           std::to_string(device.shared_per_block));
  }
}

std::string Machine::state_of(const Thread& thread) const {
  switch (thread.state) {
    case State::ended:
      return "has ended";
    case State::yielded:
      return "spins";
    case State::ready:
      return "runs";
    default:
      return "waits at " + std::string(thread.waits_at) + ", " + place(thread.site);
  }
}

void Machine::report_stuck() const {
  // Nobody can go on: somebody who waits, and somebody who is missed there.
  const Thread* waiting = nullptr;
  for (std::size_t i = 0; i < live_slots_; ++i) {
    for (const Thread& thread : slots_[i]->threads) {
      // The wait that ends for the fewest threads says most about the fault.
      const auto rank = [](const Thread& t) {
        return t.state == State::meeting         ? 4
               : t.state == State::block_barrier ? 3
               : t.state == State::grid_arrival  ? 2
               : t.state == State::grid_barrier  ? 2
               : t.state == State::yielded       ? 1
                                                 : 0;
      };
      if (waiting == nullptr || rank(thread) > rank(*waiting)) waiting = &thread;
    }
  }
  const Thread* missed = nullptr;
  for (std::size_t i = 0; i < live_slots_ && missed == nullptr; ++i) {
    for (const Thread& thread : slots_[i]->threads) {
      const bool of_grid = waiting->state == State::grid_arrival || waiting->state == State::grid_barrier;
      const bool called = (of_grid && waiting->counter == nullptr) ||
                          (waiting->state == State::block_barrier && thread.block == waiting->block) ||
                          (waiting->state == State::meeting && thread.warp == waiting->warp &&
                           (waiting->mask >> thread.lane & 1) != 0);
      const bool there = thread.state == waiting->state && thread.mask == waiting->mask &&
                         thread.waits_at == waiting->waits_at;
      if (called && !there) missed = &thread;
      if (missed != nullptr) break;
    }
  }
  std::string what = "stuck: " + state_of(*waiting);
  if (missed != nullptr) {
    what += ", while thread " + text(missed->index);
    if (missed->block != waiting->block) what += " of block " + text(missed->block->index);
    what += " " + state_of(*missed);
  }
  throw Fault(where(*waiting) + what);
}

}  // namespace simt
