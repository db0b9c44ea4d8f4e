// Who last wrote and read each byte of an array, and whether that happened before an access that is made now.
//
// Time is counted in stamps, drawn from one counter for all launches. A block draws a new one at each of its
// barriers. A launch makes everything before it known to all, and a barrier of several blocks everything that
// one of them knew or did to the others. Within a warp, __syncwarp
// orders its lanes: each lane has a clock and knows up to which clock it has seen each other lane
// (the vector clocks of Flanagan and Freund's FastTrack, PLDI 2009).
#pragma once

#include <cstddef>
#include <cstdint>

namespace simt {

constexpr unsigned warp_lanes = 32;

enum class Access : std::uint8_t { read, write, atomic };

// The thread that makes an access, by numbers that are unique in its launch.
struct Identity {
  std::uint32_t thread;
  std::uint32_t lane;
  std::uint32_t warp;
  std::uint32_t warp_first;   // its lane 0's number
  std::uint32_t block_first;  // numbers of its block's first thread and warp
  std::uint32_t block_threads;
  std::uint32_t block_first_warp;
  std::uint32_t block_warps;
  std::uint32_t stamp;        // since its block's last barrier
  std::uint32_t all_known;    // everything up to this stamp happened before
  std::uint32_t block_start;  // stamp with which the block began
  std::uint32_t clock;
  const std::uint32_t* known;  // clocks of the warp's lanes
  // In a cooperative launch, of each block: everything that it did up to this stamp happened before.
  const std::uint32_t* blocks_known;
  std::uint32_t blocks;
};

struct Cell {
  std::uint32_t write_stamp, write_clock, writer;
  // With readers in several blocks, read_clock and read_lanes are a set of blocks.
  std::uint32_t read_stamp, read_clock, read_lanes, read_warp;
  std::uint32_t flags;

  bool operator==(const Cell&) const = default;
};

enum class Finding : std::uint8_t { none, race, uninitialised, pending };

// The access that another one collided with. `other` is a thread's number, or `many` where several had read.
struct Conflict {
  static constexpr std::uint32_t many = 0xffffffff;

  Finding finding = Finding::none;
  std::size_t offset = 0;
  Access before = Access::read;
  std::uint32_t other = many;

  Conflict at(std::size_t place) const { return {finding, place, before, other}; }
};

class Shadow {
 public:
  explicit Shadow(std::size_t bytes);
  ~Shadow();
  Shadow(const Shadow&) = delete;
  Shadow& operator=(const Shadow&) = delete;

  // Shared memory has no content before its block writes some.
  Conflict access(const Identity& who, std::size_t offset, std::size_t bytes, Access kind, bool shared);
  // An asynchronous copy that is under way: nobody may touch the bytes.
  void set_pending(std::size_t offset, std::size_t bytes);
  void clear_pending(std::size_t offset, std::size_t bytes);
  // Bytes written since the stamp.
  std::size_t written_since(std::uint32_t stamp) const;

 private:
  std::size_t bytes_;
  Cell* cells_ = nullptr;
};

}  // namespace simt
