#include "shadow.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>

namespace simt {
namespace {

constexpr std::uint32_t atomic_flag = 1;
constexpr std::uint32_t pending_flag = 2;
// In the first cell of four: it speaks for all of them. Most accesses are of whole words.
constexpr std::uint32_t word_flag = 4;
constexpr std::size_t word = 4;
// Atomics by several threads of the writer's block, or of several blocks, with nothing between to order them.
constexpr std::uint32_t threads_flag = 8;
constexpr std::uint32_t blocks_flag = 16;

// In Cell::read_warp, where readers are not of one warp.
constexpr std::uint32_t warps_of_block = 0x80000000;  // plus the number of a warp of that block
constexpr std::uint32_t several_blocks = 0xffffffff;

bool block_before(const Identity& who, std::uint32_t block, std::uint32_t stamp) {
  return who.blocks_known != nullptr && stamp <= who.blocks_known[block];
}

// In a set of blocks, the last bit stands for all blocks from there on.
constexpr std::uint32_t last_bit = 63;

std::uint64_t blocks_of(const Cell& cell) { return std::uint64_t{cell.read_clock} << 32 | cell.read_lanes; }

void add_block(Cell& cell, std::uint32_t block) {
  const std::uint64_t bit = std::uint64_t{1} << std::min(block, last_bit);
  cell.read_clock |= static_cast<std::uint32_t>(bit >> 32);
  cell.read_lanes |= static_cast<std::uint32_t>(bit);
}

bool several_before(const Identity& who, const Cell& cell) {
  for (std::uint64_t set = blocks_of(cell); set != 0; set &= set - 1) {
    const auto block = static_cast<std::uint32_t>(__builtin_ctzll(set));
    const std::uint32_t end = block < last_bit ? block + 1 : who.blocks;
    for (std::uint32_t i = block; i < end; ++i) {
      const bool own = i * who.block_threads == who.block_first;
      if (own ? cell.read_stamp >= who.stamp : !block_before(who, i, cell.read_stamp)) return false;
    }
  }
  return true;
}

bool all_before(const Identity& who, std::uint32_t stamp) {
  for (std::uint32_t i = 0; i < who.blocks; ++i) {
    const bool own = i * who.block_threads == who.block_first;
    if (own ? stamp >= who.stamp : !block_before(who, i, stamp)) return false;
  }
  return true;
}

bool written_before(const Identity& who, const Cell& cell) {
  if (cell.write_stamp <= who.all_known) return true;
  if ((cell.flags & blocks_flag) != 0) return all_before(who, cell.write_stamp);
  if (cell.writer - who.block_first >= who.block_threads) {
    return block_before(who, cell.writer / who.block_threads, cell.write_stamp);
  }
  if (cell.write_stamp < who.stamp) return true;
  if ((cell.flags & threads_flag) != 0) return false;
  if (cell.writer == who.thread) return true;
  const std::uint32_t lane = cell.writer - who.warp_first;
  return lane < warp_lanes && who.known[lane] >= cell.write_clock;
}

bool read_before(const Identity& who, const Cell& cell) {
  if (cell.read_stamp <= who.all_known) return true;
  if (cell.read_warp == several_blocks) return several_before(who, cell);
  const std::uint32_t warp = cell.read_warp & ~warps_of_block;
  if (warp - who.block_first_warp >= who.block_warps) {
    return block_before(who, warp / who.block_warps, cell.read_stamp);
  }
  if (cell.read_stamp < who.stamp) return true;
  if (cell.read_warp != who.warp) return false;
  for (std::uint32_t lanes = cell.read_lanes & ~(1u << who.lane); lanes != 0; lanes &= lanes - 1) {
    if (who.known[__builtin_ctz(lanes)] < cell.read_clock) return false;
  }
  return true;
}

void add_reader(const Identity& who, Cell& cell) {
  const std::uint32_t lane = 1u << who.lane;
  if (read_before(who, cell)) {
    cell.read_warp = who.warp;
    cell.read_lanes = lane;
    cell.read_clock = who.clock;
  } else if (cell.read_warp == who.warp) {
    cell.read_lanes |= lane;
    cell.read_clock = std::max(cell.read_clock, who.clock);
  } else if (cell.read_warp != several_blocks &&
             (cell.read_warp & ~warps_of_block) - who.block_first_warp < who.block_warps) {
    cell.read_warp |= warps_of_block;
  } else {
    if (cell.read_warp != several_blocks) {
      const std::uint32_t block = (cell.read_warp & ~warps_of_block) / who.block_warps;
      cell.read_clock = cell.read_lanes = 0;
      cell.read_warp = several_blocks;
      add_block(cell, block);
    }
    add_block(cell, who.block_first / who.block_threads);
  }
  cell.read_stamp = std::max(cell.read_stamp, who.stamp);
}

std::uint32_t reader_of(const Identity& who, const Cell& cell) {
  if (cell.read_warp != who.warp) return Conflict::many;
  return who.warp_first + static_cast<std::uint32_t>(__builtin_ctz(cell.read_lanes & ~(1u << who.lane)));
}

inline Conflict access_cell(const Identity& who, Cell& cell, Access kind, bool shared) {
  const bool written = !shared || cell.write_stamp >= who.block_start;
  if (shared && cell.read_stamp < who.block_start) cell.read_stamp = 0;  // another block's memory then
  if (shared && written && (cell.flags & pending_flag) != 0) {
    return {Finding::pending, 0, Access::write, cell.writer};
  }
  const bool atomic = (cell.flags & atomic_flag) != 0;
  const bool ordered = !written || written_before(who, cell);
  if (!ordered && !(kind == Access::atomic && atomic)) {
    return {Finding::race, 0, atomic ? Access::atomic : Access::write, cell.writer};
  }
  if (kind != Access::write && !written) return {Finding::uninitialised, 0, Access::read, who.thread};
  if (kind == Access::read) {
    add_reader(who, cell);
    return {};
  }
  if (!read_before(who, cell)) return {Finding::race, 0, Access::read, reader_of(who, cell)};
  std::uint32_t flags = (cell.flags & word_flag) | (kind == Access::atomic ? atomic_flag : 0);
  std::uint32_t stamp = who.stamp;
  if (!ordered) {
    const bool own_block = cell.writer - who.block_first < who.block_threads;
    flags |= (cell.flags & (threads_flag | blocks_flag)) | (own_block ? threads_flag : blocks_flag);
    stamp = std::max(stamp, cell.write_stamp);
  }
  cell = {stamp, who.clock, who.thread, 0, 0, 0, 0, flags};
  return {};
}

}  // namespace

Shadow::Shadow(std::size_t bytes) : bytes_((bytes + word - 1) / word * word) {
  if (bytes == 0) return;
  void* cells = mmap(nullptr, bytes_ * sizeof(Cell), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (cells == MAP_FAILED) throw std::bad_alloc();
  cells_ = static_cast<Cell*>(cells);
}

Shadow::~Shadow() {
  if (bytes_ > 0) munmap(cells_, bytes_ * sizeof(Cell));
}

Conflict Shadow::access(const Identity& who, std::size_t offset, std::size_t bytes, Access kind,
                        bool shared) {
  const std::size_t end = offset + bytes;
  for (std::size_t i = offset; i < end;) {
    Cell* cells = cells_ + i / word * word;
    const bool whole = i % word == 0 && end - i >= word;
    if (whole && (cells->flags & word_flag) != 0) {
      const Conflict conflict = access_cell(who, *cells, kind, shared);
      if (conflict.finding != Finding::none) return conflict.at(i);
      i += word;
      continue;
    }
    if ((cells->flags & word_flag) != 0) {
      cells->flags &= ~word_flag;
      std::fill_n(cells + 1, word - 1, *cells);
    }
    const std::size_t last = std::min(end, (i / word + 1) * word);
    for (; i < last; ++i) {
      const Conflict conflict = access_cell(who, cells_[i], kind, shared);
      if (conflict.finding != Finding::none) return conflict.at(i);
    }
    if (whole && std::all_of(cells + 1, cells + word, [&](const Cell& cell) { return cell == *cells; })) {
      cells->flags |= word_flag;
    }
  }
  return {};
}

void Shadow::set_pending(std::size_t offset, std::size_t bytes) {
  for (std::size_t i = offset; i < offset + bytes; ++i) cells_[i].flags |= pending_flag;
}

void Shadow::clear_pending(std::size_t offset, std::size_t bytes) {
  for (std::size_t i = offset; i < offset + bytes; ++i) cells_[i].flags &= ~pending_flag;
}

std::size_t Shadow::written_since(std::uint32_t stamp) const {
  std::size_t count = 0;
  for (std::size_t i = 0; i < bytes_; ++i) {
    const Cell& first = cells_[i / word * word];
    const Cell& cell = (first.flags & word_flag) != 0 ? first : cells_[i];
    count += cell.write_stamp >= stamp ? 1 : 0;
  }
  return count;
}

}  // namespace simt
