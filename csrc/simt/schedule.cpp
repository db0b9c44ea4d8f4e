// Whose turn it is: threads in a block, and blocks in a cooperative launch with the barriers between them.
#include <algorithm>
#include <cstring>
#include <utility>

#include "machine.h"

extern simt::Index3 simt_block_index asm("simt_block_index");

namespace simt {
namespace {

bool waits_for_blocks(const Thread& thread) {
  return thread.state == State::grid_arrival || thread.state == State::grid_barrier;
}

// Rounds without any progress but yielding, after which a spinning kernel is given up.
constexpr int most_idle_rounds = 2000;

}  // namespace

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
    if (thread.state != first.state || !waits_for_blocks(thread)) return false;
    if (thread.counter != first.counter || thread.mask != first.mask) {
      throw Fault(where(thread) + "divergent barrier: waits for other blocks than thread (0, 0, 0)");
    }
  }
  return true;
}

void Machine::go_on(Block& block) {
  new_interval(block);
  for (Thread& thread : block.threads) thread.state = State::ready;
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
      if (other.threads[0].state != first.state) continue;
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
    if (first.state == State::grid_arrival) {
      const std::uint32_t before = stamp_;
      for (Block* block : group) {
        block->arrived = before;
        go_on(*block);
      }
      continue;
    }
    std::vector<std::uint32_t> known = group[0]->known;
    for (const Block* block : group) {
      std::transform(known.begin(), known.end(), block->known.begin(), known.begin(),
                     [](std::uint32_t a, std::uint32_t b) { return std::max(a, b); });
    }
    for (const Block* block : group) known[block->number] = block->arrived;
    for (Block* block : group) {
      block->known = known;
      block->arrived = 0;
      go_on(*block);
    }
  }
  return any;
}

}  // namespace simt
