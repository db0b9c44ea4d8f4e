// Functions that kernels compiled for the host call: the seam between the CUDA names in this folder's other
// headers and the machine that simulates them. Nothing here is instrumented.
#pragma once

#include <cstddef>
#include <cstdint>

namespace simt {

struct Index3 {
  unsigned x = 0;
  unsigned y = 0;
  unsigned z = 0;
};

// The place in a kernel's source of a barrier or collective, for reports.
struct Site {
  const char* file;
  int line;
};

// Parameters that let a function know where it was called from.
#define SIMT_SITE const char *simt_file = __builtin_FILE(), int simt_line = __builtin_LINE()
#define SIMT_HERE \
  ::simt::Site { simt_file, simt_line }

struct Grid {
  const char* kernel;
  Index3 blocks;
  Index3 threads;
  std::size_t shared_bytes;
  bool cooperative;
  void (*body)(void* call);
  void* call;  // the kernel and its arguments
  std::size_t call_bytes;
};

void run(const Grid& grid);
struct DeviceSize {
  int major;
  int minor;
  int multiprocessors;
  std::size_t shared_per_block;
};
DeviceSize device_size();
// Blocks of a kernel that the whole device can hold at once.
int resident_blocks(int threads, std::size_t shared_bytes);

enum class Vote : std::uint8_t { none, all, any, count };

int block_barrier(const char* name, Vote vote, int predicate, Site site);
// A barrier of so many blocks that share the counter; without one, of the whole grid. What a block does
// between its arrival and the end of its wait, others do not know of.
void arrive_at_blocks(unsigned* counter, unsigned blocks, Site site);
void wait_for_blocks(unsigned* counter, unsigned blocks, Site site);
void warp_barrier(std::uint32_t mask, Site site);
void yield();
std::byte* dynamic_shared();

// A collective of the warp's lanes in `mask`. Each brings a pointer to something of its own; the last one to
// arrive calls `finish` on all of them. Lanes must agree on name, mask and variant.
struct Lanes {
  std::uint32_t mask;
  std::uint32_t variant;
  void* const* at;
};
void meet(const char* name, std::uint32_t mask, std::uint32_t variant, void* mine,
          void (*finish)(const Lanes&), Site site);
// Every lane's bits to the lanes that ask for them by number.
std::uint64_t exchange(const char* name, std::uint32_t mask, std::uint64_t bits, int source,
                       std::uint32_t variant, Site site);
// A bit for each lane whose predicate is not zero.
std::uint32_t ballot(const char* name, std::uint32_t mask, int predicate, Site site);

// Checked like an access of the kernel itself.
void check_read(const void* address, std::size_t bytes, std::size_t alignment);
void check_write(void* address, std::size_t bytes, std::size_t alignment);
void check_atomic(void* address, std::size_t bytes);

void start_copy(void* shared, const void* global, std::size_t bytes, std::size_t copied);
void commit_copies();
void wait_for_copies(std::size_t groups_under_way);

enum class Number : std::uint8_t { tf32, float16, bfloat16 };
void multiply_tiles(Number number, float* d, const std::uint32_t* a, const std::uint32_t* b, const float* c,
                    Site site);
void load_matrices(int count, bool transposed, std::uint32_t* registers, const void* row, Site site);

}  // namespace simt
