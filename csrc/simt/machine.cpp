#include "machine.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

// The kernels' threadIdx and its like: constants for each thread, changed between two of them.
simt::Index3 simt_thread_index asm("simt_thread_index");
simt::Index3 simt_block_index asm("simt_block_index");
simt::Index3 simt_block_size asm("simt_block_size");
simt::Index3 simt_grid_size asm("simt_grid_size");

namespace simt {

Private private_memory;

namespace {

// Rounds without any progress but yielding, after which a spinning kernel is given up.
constexpr int most_idle_rounds = 2000;

std::size_t volume(const Index3& size) { return std::size_t{size.x} * size.y * size.z; }

}  // namespace

Index3 unravel(std::uint32_t number, const Index3& size) {
  return {number % size.x, number / size.x % size.y, number / size.x / size.y};
}

std::string text(const Index3& index) {
  std::string result = "(";
  result += std::to_string(index.x) + ", " + std::to_string(index.y) + ", " + std::to_string(index.z) + ")";
  return result;
}

// Lives as long as the process, since arrays in its memory may.
Machine* const Machine::instance_ = new Machine;

std::string Machine::where(const Thread& thread) const {
  return "kernel '" + std::string(grid_->kernel) + "', block " + text(thread.block->index) + ", " +
         "thread " + text(thread.index) + ": ";
}

void Machine::refuse(const std::string& what) const {
  throw Fault("kernel '" + std::string(grid_->kernel) + "': " + what);
}

void Machine::abandon(const Thread& thread, const std::string& what) {
  fault_ = where(thread) + what;
  switch_out();
  __builtin_unreachable();
}

void fail(const std::string& what) {
  Machine& machine = Machine::get();
  machine.note(nullptr);
  machine.abandon(machine.thread(), what);
}

void run(const Grid& grid) { Machine::get().run(grid); }

int resident_blocks(int threads, std::size_t shared_bytes) {
  const Device& device = Machine::get().device;
  if (threads < 1 || shared_bytes > device.shared_per_block) return 0;
  constexpr std::size_t reserved = 1024;  // per block, by the system
  const int by_threads = device.threads_per_multiprocessor / ((threads + 31) / 32 * 32);
  const auto by_memory = static_cast<int>(device.shared_per_multiprocessor / (shared_bytes + reserved));
  return std::min({by_threads, by_memory, device.blocks_per_multiprocessor}) * device.multiprocessors;
}

void Machine::run(const Grid& grid) {
  if (grid_ != nullptr) throw Fault("kernel '" + std::string(grid.kernel) + "': launched inside a kernel");
  grid_ = &grid;
  struct Restore {
    Machine& machine;
    ~Restore() {
      machine.grid_ = nullptr;
      machine.live_slots_ = 0;
    }
  } restore{*this};
  const auto& [x, y, z] = grid.threads;
  if (volume(grid.threads) < 1 || volume(grid.threads) > 1024 || x > 1024 || y > 1024 || z > 64) {
    refuse("blocks of " + text(grid.threads) + " threads; expected 1 to 1024 in all, z at most 64");
  }
  if (volume(grid.blocks) < 1 || grid.blocks.x > 0x7fffffff || grid.blocks.y > 65535 ||
      grid.blocks.z > 65535) {
    refuse("a grid of " + text(grid.blocks) + " blocks; expected 1 at least, y and z at most 65535");
  }
  if (grid.shared_bytes > device.shared_per_block) {
    refuse("too much shared memory: " + std::to_string(grid.shared_bytes) +
           " dynamic bytes; a block of this device may have " + std::to_string(device.shared_per_block));
  }
  if (volume(grid.blocks) * volume(grid.threads) > 0x7fffffff) refuse("more threads than can be numbered");
  locals_ = thread_locals();
  simt_block_size = grid.threads;
  simt_grid_size = grid.blocks;
  random_ = seed * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du;
  all_known_ = stamp_++;  // earlier launches happened before this one
  fault_.clear();
  instruction_ = 0;
  exception_ = nullptr;
  if (grid.cooperative) {
    const int resident = resident_blocks(static_cast<int>(volume(grid.threads)), grid.shared_bytes);
    if (volume(grid.blocks) > static_cast<std::size_t>(resident)) {
      refuse("a cooperative grid of " + std::to_string(volume(grid.blocks)) + " blocks; this device holds " +
             std::to_string(resident) + " at once");
    }
    run_together();
  } else {
    run_in_turn();
  }
}

void Machine::shuffle(std::vector<std::uint32_t>& turns) {
  for (std::size_t i = turns.size(); i > 1; --i) {
    random_ ^= random_ << 13;
    random_ ^= random_ >> 7;
    random_ ^= random_ << 17;
    std::swap(turns[i - 1], turns[(random_ >> 20) % i]);
  }
}

std::vector<std::uint32_t> Machine::arranged(std::size_t count) {
  std::vector<std::uint32_t> turns(count);
  for (std::size_t i = 0; i < count; ++i) {
    turns[i] = static_cast<std::uint32_t>(order == Order::reverse ? count - 1 - i : i);
  }
  if (order == Order::random) shuffle(turns);
  return turns;
}

Block& Machine::slot(std::size_t number) {
  while (slots_.size() <= number) {
    void* arena = mmap(nullptr, arena_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena == MAP_FAILED) throw std::bad_alloc();
    auto block = std::make_unique<Block>();
    block->dynamic = static_cast<std::byte*>(arena) + arena_gap;
    block->dynamic_shadow = std::make_unique<Shadow>(arena_bytes - 2 * arena_gap);
    block->static_shadow = std::make_unique<Shadow>(locals_.bytes);
    slots_.push_back(std::move(block));
  }
  return *slots_[number];
}

void Machine::prepare_block(std::size_t slot_number, std::uint32_t number) {
  Block& block = slot(slot_number);
  live_slots_ = std::max(live_slots_, slot_number + 1);
  const auto count = static_cast<std::uint32_t>(volume(grid_->threads));
  block.number = number;
  block.index = unravel(number, grid_->blocks);
  block.waiting = block.ended = 0;
  new_interval(block);
  block.start = block.stamp;
  if (block.threads.size() != count) {
    block.threads = std::vector<Thread>(count);
    block.warps = std::vector<Warp>((count + warp_lanes - 1) / warp_lanes);
  }
  block.turns = arranged(count);
  for (std::uint32_t w = 0; w < block.warps.size(); ++w) {
    const std::uint32_t lanes = std::min(count - w * warp_lanes, warp_lanes);
    block.warps[w] = {&block.threads[w * warp_lanes],
                      0xffffffffu >> (warp_lanes - lanes),
                      number * static_cast<std::uint32_t>(block.warps.size()) + w,
                      1,
                      {}};
  }
  for (std::uint32_t i = 0; i < count; ++i) {
    Thread& thread = block.threads[i];
    thread.block = &block;
    thread.warp = &block.warps[i / warp_lanes];
    thread.index = unravel(i, grid_->threads);
    thread.number = i;
    thread.lane = i % warp_lanes;
    thread.state = State::ready;
    thread.mask = 0;
    thread.clock = 1;
    std::fill_n(thread.known, warp_lanes, 0u);
    thread.copies.clear();
    thread.stack = stacks_.at(slot_number * count + i);
    // Were all stacks the same distance apart, they would crowd into few sets of the caches.
    prepare(thread.context, thread.stack, Stacks::bytes - i % 31 * 192, &Machine::enter);
  }
}

void Machine::enter() {
  Machine& machine = get();
  try {
    machine.grid_->body(machine.grid_->call);
  } catch (...) {
    machine.exception_ = std::current_exception();
  }
  Thread& thread = *machine.thread_;
  thread.state = State::ended;
  ++thread.block->ended;
  machine.switch_out();
}

void Machine::resume(Thread& thread) {
  thread_ = &thread;
  thread.state = State::ready;
  accesses_ = 0;
  identity_known_ = false;
  ++switches;
  simt_thread_index = thread.index;
  private_memory = {reinterpret_cast<std::uintptr_t>(thread.stack), Stacks::bytes};
  switch_context(scheduler_, thread.context);
  private_memory = {};
  thread_ = nullptr;
  if (!fault_.empty()) throw Fault(fault_ + source_line(std::exchange(instruction_, 0)));
  if (exception_ != nullptr) std::rethrow_exception(std::exchange(exception_, nullptr));
}

bool Machine::advance(Block& block) {
  simt_block_index = block.index;
  bool any = false;
  for (bool progress = true; progress; any |= progress) {
    progress = false;
    if (order == Order::random) shuffle(block.turns);
    for (const std::uint32_t turn : block.turns) {
      Thread& thread = block.threads[turn];
      if (thread.state != State::ready && thread.state != State::yielded) continue;
      resume(thread);
      progress |= thread.state != State::yielded;
    }
  }
  return any;
}

bool Machine::may_go_on(bool progress, int& idle_rounds) const {
  idle_rounds = progress ? 0 : idle_rounds + 1;
  if (progress) return true;
  for (std::size_t i = 0; i < live_slots_; ++i) {
    for (const Thread& thread : slots_[i]->threads) {
      if (thread.state == State::yielded) return idle_rounds < most_idle_rounds;
    }
  }
  return false;
}

void Machine::run_in_turn() {
  bool first = true;
  for (const std::uint32_t number : arranged(volume(grid_->blocks))) {
    prepare_block(0, number);
    Block& block = *slots_[0];
    for (int idle_rounds = 0; !block.done();) {
      if (!may_go_on(advance(block), idle_rounds)) report_stuck();
    }
    if (std::exchange(first, false)) check_shared_size(block);
  }
}

void Machine::run_together() {
  const std::size_t count = volume(grid_->blocks);
  auto* statics = reinterpret_cast<std::byte*>(locals_.begin);
  struct Restore {
    std::byte* to;
    std::vector<std::byte> bytes;
    ~Restore() { std::memcpy(to, bytes.data(), bytes.size()); }
  } restore{statics, std::vector<std::byte>(statics, statics + locals_.bytes)};
  for (std::uint32_t number = 0; number < count; ++number) {
    prepare_block(number, number);
    slots_[number]->statics = restore.bytes;
    slots_[number]->known.assign(count, all_known_);
  }
  std::vector<std::uint32_t> turns = arranged(count);
  std::size_t done = 0;
  for (int idle_rounds = 0; done < count;) {
    bool progress = false;
    if (order == Order::random) shuffle(turns);
    for (const std::uint32_t turn : turns) {
      Block& block = *slots_[turn];
      if (block.done()) continue;
      std::memcpy(statics, block.statics.data(), locals_.bytes);
      progress |= advance(block);
      std::memcpy(block.statics.data(), statics, locals_.bytes);
      if (block.done() && done++ == 0) check_shared_size(block);
    }
    progress |= release_blocks();
    if (done < count && !may_go_on(progress, idle_rounds)) report_stuck();
  }
}

// Whether all its threads wait for other blocks; complains of those that wait for different ones.
bool Machine::at_barrier(const Block& block) const {
  const Thread& first = block.threads[0];
  for (const Thread& thread : block.threads) {
    if (thread.state != State::grid_barrier) return false;
    if (thread.counter != first.counter || thread.mask != first.mask) {
      throw Fault(where(thread) + "divergent barrier: waits for other blocks than thread (0, 0, 0)");
    }
  }
  return true;
}

bool Machine::release_blocks() {
  bool any = false;
  for (std::size_t i = 0; i < live_slots_; ++i) {
    if (!at_barrier(*slots_[i])) continue;
    const Thread& first = slots_[i]->threads[0];
    std::vector<Block*> group;
    for (std::size_t j = i; j < live_slots_; ++j) {
      Block& other = *slots_[j];
      if (!at_barrier(other) || other.threads[0].counter != first.counter) continue;
      if (other.threads[0].mask != first.mask) {
        throw Fault(where(other.threads[0]) + "divergent barrier: for " +
                    std::to_string(other.threads[0].mask) + " blocks, while block " +
                    text(first.block->index) + " expects " + std::to_string(first.mask));
      }
      group.push_back(&other);
    }
    if (group.size() > first.mask) {
      throw Fault(where(first) + "divergent barrier: reached by " + std::to_string(group.size()) +
                  " blocks and meant for " + std::to_string(first.mask));
    }
    if (group.size() < first.mask) continue;
    any = true;
    std::vector<std::uint32_t> known = group[0]->known;
    for (const Block* block : group) {
      std::transform(known.begin(), known.end(), block->known.begin(), known.begin(),
                     [](std::uint32_t a, std::uint32_t b) { return std::max(a, b); });
    }
    for (const Block* block : group) known[block->number] = stamp_;
    for (Block* block : group) {
      block->known = known;
      new_interval(*block);
      for (Thread& thread : block->threads) thread.state = State::ready;
    }
  }
  return any;
}

}  // namespace simt
