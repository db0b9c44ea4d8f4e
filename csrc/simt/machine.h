// The simulated device: threads, warps, blocks and the grid of one launch, and what they wait for.
//
// All threads of a block are coroutines of one host thread. Each runs until it has to wait; the order of
// turns is the test's choice. Blocks run one after the other, and in turns in a cooperative launch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "fault.h"
#include "fiber.h"
#include "image.h"
#include "memory.h"
#include "runtime.h"
#include "shadow.h"

namespace simt {

struct Device {
  int major = 9;
  int minor = 0;
  int multiprocessors = 4;
  int threads_per_multiprocessor = 2048;
  int blocks_per_multiprocessor = 32;
  std::size_t shared_per_block = 227 * 1024;  // after opting in; static arrays may have 48 KiB
  std::size_t shared_per_multiprocessor = 228 * 1024;
};

enum class Order : std::uint8_t { forward, reverse, random };

enum class State : std::uint8_t { ready, yielded, block_barrier, grid_arrival, grid_barrier, meeting, ended };

// An asynchronous copy that nobody has waited for.
struct Copy {
  std::byte* to;
  const std::byte* from;
  std::size_t bytes;   // of `to`
  std::size_t copied;  // from `from`; the rest is zeros
};

struct Block;
struct Warp;

struct Thread {
  Context context;
  Block* block = nullptr;
  Warp* warp = nullptr;
  Index3 index;
  std::byte* stack = nullptr;
  std::uint32_t number = 0;  // in its block
  std::uint32_t lane = 0;
  State state = State::ready;
  const char* waits_at = nullptr;
  Site site{};
  std::uint32_t mask = 0;  // of the lanes, or number of the blocks, that it waits for
  const unsigned* counter = nullptr;
  int predicate = 0;
  int result = 0;
  std::uint32_t clock = 1;
  std::uint32_t known[warp_lanes] = {};
  std::vector<std::vector<Copy>> copies;  // a group each, the last of them not yet committed
};

// A collective operation that some lanes have reached.
struct Meeting {
  const char* name;
  std::uint32_t mask;
  std::uint32_t variant;
  std::uint32_t arrived;
  void* lanes[warp_lanes];
};

struct Warp {
  Thread* first = nullptr;
  std::uint32_t lanes = 0;  // mask of those that exist
  std::uint32_t number = 0;
  std::uint32_t clock = 1;
  std::vector<Meeting> meetings;
};

struct Block {
  Index3 index;
  std::uint32_t number = 0;
  std::vector<Thread> threads;
  std::vector<std::uint32_t> turns;
  std::vector<Warp> warps;
  std::uint32_t waiting = 0;  // at its barrier
  std::uint32_t ended = 0;
  std::uint32_t stamp = 0;  // since its last barrier
  std::uint32_t start = 0;
  std::uint32_t arrived =
      0;  // last stamp before its arrival at a barrier of blocks that it is to wait at, or 0
  std::byte* dynamic = nullptr;
  std::unique_ptr<Shadow> dynamic_shadow;
  std::unique_ptr<Shadow> static_shadow;
  std::vector<std::uint32_t> known;  // what it knows of each block of a cooperative launch; see Identity
  std::vector<std::byte> statics;    // while another block of a cooperative launch runs

  bool done() const { return ended == threads.size(); }
};

// A block's dynamic shared memory lies between two gaps.
constexpr std::size_t arena_bytes = 512 * 1024;
constexpr std::size_t arena_gap = 128 * 1024;

std::string text(const Index3& index);
inline std::size_t volume(const Index3& size) { return std::size_t{size.x} * size.y * size.z; }
Index3 unravel(std::uint32_t number, const Index3& size);

class Machine {
 public:
  static Machine& get() { return *instance_; }

  void run(const Grid& grid);

  // From inside a kernel, by its running thread.
  bool running() const { return thread_ != nullptr; }
  Thread& thread() { return *thread_; }
  const Grid& grid() const { return *grid_; }
  void switch_out() { switch_context(thread_->context, scheduler_); }
  void new_interval(Block& block) { block.stamp = ++stamp_; }
  [[noreturn]] void abandon(const Thread& thread, const std::string& what);
  void check(std::uintptr_t address, std::size_t bytes, Access kind);
  // The machine code that a fault to come is in.
  void note(const void* instruction) { instruction_ = reinterpret_cast<std::uintptr_t>(instruction); }
  // The running thread's, until it switches out.
  const Identity& identity() {
    if (!identity_known_) find_identity();
    return identity_;
  }
  // The running block's shared memory that holds these bytes, or null.
  Shadow* shared_at(std::uintptr_t address, std::size_t bytes, std::size_t& offset) const;
  std::string name(std::uint32_t number) const;
  std::string state_of(const Thread& thread) const;

  Device device;
  Order order = Order::forward;
  std::uint64_t seed = 0;
  DeviceMemory memory;
  std::uint64_t switches = 0;

 private:
  void run_in_turn();
  void run_together();
  Block& slot(std::size_t number);
  void prepare_block(std::size_t slot, std::uint32_t number);
  bool advance(Block& block);  // until every thread waits; whether any did more than yield
  void resume(Thread& thread);
  std::vector<std::uint32_t> arranged(std::size_t count);
  void shuffle(std::vector<std::uint32_t>& turns);
  bool release_blocks();
  void go_on(Block& block);
  bool at_barrier(const Block& block) const;
  void check_shared_size(const Block& block);
  bool may_go_on(bool progress, int& idle_rounds) const;
  [[noreturn]] void report_stuck() const;
  [[noreturn]] void refuse(const std::string& what) const;
  std::string where(const Thread& thread) const;
  void find_identity();
  [[noreturn]] void report(const Conflict& conflict, Access kind, const std::string& memory);
  [[noreturn]] void report_outside(std::uintptr_t address, std::size_t bytes, Access kind);
  static void enter();

  static Machine* const instance_;

  Stacks stacks_;
  std::vector<std::unique_ptr<Block>> slots_;  // one, or one for each block of a cooperative launch
  std::size_t live_slots_ = 0;
  const Grid* grid_ = nullptr;
  Thread* thread_ = nullptr;
  Context scheduler_{};
  MemoryRange image_ = module_image();
  MemoryRange locals_;
  Identity identity_{};
  bool identity_known_ = false;
  std::string fault_;
  std::uintptr_t instruction_ = 0;
  std::exception_ptr exception_;
  std::uint32_t stamp_ = 0;
  std::uint32_t all_known_ = 0;
  std::uint64_t random_ = 0;
  std::uint64_t accesses_ = 0;  // by the running thread since its turn began
};

// The running thread's stack, which hooks pass without a look; everything while no kernel runs.
struct Private {
  std::uintptr_t begin = 0;
  std::size_t bytes = SIZE_MAX;
};
extern Private private_memory;

}  // namespace simt
