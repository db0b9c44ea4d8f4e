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

DeviceSize device_size() {
  const Device& device = Machine::get().device;
  return {device.major, device.minor, device.multiprocessors, device.shared_per_block};
}

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
  block.waiting = block.ended = block.arrived = 0;
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

}  // namespace simt
