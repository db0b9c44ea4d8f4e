// Barriers, and what the lanes of a warp do together.
#include <algorithm>
#include <cstring>

#include "machine.h"

namespace simt {
namespace {

std::string here(const Thread& thread) { return Machine::get().state_of(thread); }

void complete(Block& block, Vote vote) {
  Machine& machine = Machine::get();
  Thread& last = machine.thread();
  int count = 0;
  for (const Thread& thread : block.threads) {
    if (thread.waits_at != last.waits_at || thread.site.line != last.site.line ||
        (thread.site.file != last.site.file && std::strcmp(thread.site.file, last.site.file) != 0)) {
      machine.abandon(last, "divergent barrier: " + here(last) + ", while thread " + text(thread.index) +
                                " " + here(thread));
    }
    count += thread.predicate;
  }
  const int all = static_cast<int>(block.threads.size());
  const int result = vote == Vote::count ? count : vote == Vote::all ? count == all : count > 0;
  for (Thread& thread : block.threads) {
    thread.result = result;
    thread.state = State::ready;
  }
  block.waiting = 0;
  machine.new_interval(block);
}

void wait_at(Thread& thread, State state, const char* name, Site site, std::uint32_t mask = 0) {
  thread.state = state;
  thread.mask = mask;
  thread.waits_at = name;
  thread.site = site;
  Machine::get().note(nullptr);
}

// A thread's mask, less the lanes that a last, smaller warp does not have.
std::uint32_t checked_mask(const char* name, std::uint32_t mask) {
  const Thread& thread = Machine::get().thread();
  if ((mask >> thread.lane & 1) == 0) {
    fail("divergent " + std::string(name) + ": this thread is lane " + std::to_string(thread.lane) +
         ", which its mask " + std::to_string(mask) + " does not name");
  }
  return mask & thread.warp->lanes;
}

// Each lane knows after a __syncwarp everything that any of them knew or did.
void join(const Lanes& lanes) {
  Warp& warp = *Machine::get().thread().warp;
  std::uint32_t known[warp_lanes] = {};
  for (std::uint32_t left = lanes.mask; left != 0; left &= left - 1) {
    const auto lane = static_cast<std::uint32_t>(__builtin_ctz(left));
    const Thread& thread = warp.first[lane];
    for (std::uint32_t i = 0; i < warp_lanes; ++i) known[i] = std::max(known[i], thread.known[i]);
    known[lane] = std::max(known[lane], thread.clock);
  }
  ++warp.clock;
  for (std::uint32_t left = lanes.mask; left != 0; left &= left - 1) {
    Thread& thread = warp.first[__builtin_ctz(left)];
    std::copy_n(known, warp_lanes, thread.known);
    thread.clock = warp.clock;
  }
}

struct Parcel {
  std::uint64_t bits;
  std::uint64_t received;
  int source;
};

void deliver(const Lanes& lanes) {
  Machine& machine = Machine::get();
  for (std::uint32_t left = lanes.mask; left != 0; left &= left - 1) {
    const int lane = __builtin_ctz(left);
    auto& parcel = *static_cast<Parcel*>(lanes.at[lane]);
    if ((lanes.mask >> parcel.source & 1) == 0) {
      machine.abandon(
          machine.thread().warp->first[lane],
          "divergent shuffle: reads lane " + std::to_string(parcel.source) + ", which takes no part in it");
    }
    parcel.received = static_cast<const Parcel*>(lanes.at[parcel.source])->bits;
  }
}

struct Ballot {
  bool predicate;
  std::uint32_t result;
};

const char* name_of_barrier(const unsigned* counter) {
  return counter == nullptr ? "sync_grid" : "BlockBarrier";
}

void count_votes(const Lanes& lanes) {
  std::uint32_t result = 0;
  for (std::uint32_t left = lanes.mask; left != 0; left &= left - 1) {
    const int lane = __builtin_ctz(left);
    if (static_cast<const Ballot*>(lanes.at[lane])->predicate) result |= 1u << lane;
  }
  for (std::uint32_t left = lanes.mask; left != 0; left &= left - 1) {
    static_cast<Ballot*>(lanes.at[__builtin_ctz(left)])->result = result;
  }
}

}  // namespace

std::uint64_t exchange(const char* name, std::uint32_t mask, std::uint64_t bits, int source,
                       std::uint32_t variant, Site site) {
  Parcel parcel{bits, 0, source};
  meet(name, mask, variant, &parcel, &deliver, site);
  return parcel.received;
}

std::uint32_t ballot(const char* name, std::uint32_t mask, int predicate, Site site) {
  Ballot mine{predicate != 0, 0};
  meet(name, mask, 0, &mine, &count_votes, site);
  return mine.result;
}

int block_barrier(const char* name, Vote vote, int predicate, Site site) {
  Machine& machine = Machine::get();
  Thread& thread = machine.thread();
  Block& block = *thread.block;
  thread.predicate = predicate != 0;
  wait_at(thread, State::block_barrier, name, site);
  if (++block.waiting == block.threads.size()) complete(block, vote);
  machine.switch_out();
  return thread.result;
}

// Blocks go on from here together. So whatever any of them did before has an earlier stamp than what any does
// after, and one stamp tells the two apart.
void arrive_at_blocks(unsigned* counter, unsigned blocks, Site site) {
  Machine& machine = Machine::get();
  if (!machine.grid().cooperative) fail("a barrier of blocks in a launch that is not cooperative");
  const char* name = name_of_barrier(counter);
  block_barrier(name, Vote::none, 0, site);
  Thread& thread = machine.thread();
  if (counter != nullptr && thread.number == 0) {
    check_atomic(counter, sizeof *counter);
    ++*counter;
  }
  thread.counter = counter;
  wait_at(thread, State::grid_arrival, name, site, blocks);
  machine.switch_out();
}

void wait_for_blocks(unsigned* counter, unsigned blocks, Site site) {
  Machine& machine = Machine::get();
  Thread& thread = machine.thread();
  if (thread.block->arrived == 0) fail("divergent barrier: a wait for other blocks without an arrival");
  thread.counter = counter;
  wait_at(thread, State::grid_barrier, name_of_barrier(counter), site, blocks);
  machine.switch_out();
}

void warp_barrier(std::uint32_t mask, Site site) { meet("__syncwarp", mask, 0, nullptr, &join, site); }

void yield() {
  Machine& machine = Machine::get();
  if (!machine.running()) return;
  machine.thread().state = State::yielded;
  machine.switch_out();
}

std::byte* dynamic_shared() { return Machine::get().thread().block->dynamic; }

void meet(const char* name, std::uint32_t mask, std::uint32_t variant, void* mine,
          void (*finish)(const Lanes&), Site site) {
  Machine& machine = Machine::get();
  Thread& thread = machine.thread();
  mask = checked_mask(name, mask);
  wait_at(thread, State::meeting, name, site, mask);
  std::vector<Meeting>& meetings = thread.warp->meetings;
  auto meeting =
      std::find_if(meetings.begin(), meetings.end(), [&](const Meeting& m) { return m.mask == mask; });
  if (meeting == meetings.end()) {
    meeting = meetings.insert(meetings.end(), Meeting{name, mask, variant, 0, {}});
  } else if (std::strcmp(meeting->name, name) != 0 || meeting->variant != variant) {
    const Thread& other = thread.warp->first[__builtin_ctz(meeting->arrived)];
    machine.abandon(thread, "divergent " + std::string(name) + ": " + here(thread) + ", while thread " +
                                text(other.index) + " " + here(other) +
                                " with the same mask, or another type");
  }
  meeting->arrived |= 1u << thread.lane;
  meeting->lanes[thread.lane] = mine;
  if (meeting->arrived == mask) {
    const Meeting whole = *meeting;
    meetings.erase(meeting);
    finish({mask, variant, whole.lanes});
    for (std::uint32_t left = mask; left != 0; left &= left - 1) {
      thread.warp->first[__builtin_ctz(left)].state = State::ready;
    }
  }
  machine.switch_out();
}

}  // namespace simt
