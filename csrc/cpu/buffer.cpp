#include "buffer.h"

#include <pthread.h>
#include <unistd.h>
#if defined(__linux__)
  #include <sys/mman.h>
#endif

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

namespace fusedlstm {
namespace {

constexpr std::size_t alignment = 64;
constexpr std::size_t always_kept_bytes = std::size_t{256} << 20;

// The most that is kept of a large model's calls: an eighth of the memory.
std::size_t most_kept_bytes() {
  static const std::size_t bytes = [] {
    const long pages = sysconf(_SC_PHYS_PAGES);
    const long page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? static_cast<std::size_t>(pages) / 8 * static_cast<std::size_t>(page) : 0;
  }();
  return bytes;
}

// The most memory that was in use at a time, of late: within the last takes, between one and two times as
// many.
class RecentPeak {
 public:
  void taken(std::size_t in_use) {
    now_ = std::max(now_, in_use);
    if (++takes_ < memory_of_takes) return;
    takes_ = 0;
    before_ = std::exchange(now_, in_use);
  }
  std::size_t bytes() const { return std::max(before_, now_); }

 private:
  static constexpr int memory_of_takes = 256;
  int takes_ = 0;
  std::size_t now_ = 0;
  std::size_t before_ = 0;
};

// In front of every block, so that giving back needs the pointer alone.
struct alignas(alignment) Header {
  std::size_t capacity;
};

// Large blocks in pages of 2 MiB where the system has them: a tape of hundreds of megabytes otherwise costs
// more in page faults than it does in arithmetic, and the first training step of a small model a third. What
// is left of a block beyond whole ones comes in small pages.
constexpr std::size_t huge_page = std::size_t{2} << 20;

void* allocate(std::size_t bytes) {
#if defined(__linux__)
  if (bytes >= huge_page) {
    void* memory = nullptr;
    if (posix_memalign(&memory, huge_page, bytes) != 0) return nullptr;
    // Advice: if not taken, no result changes.
    madvise(memory, bytes / huge_page * huge_page, MADV_HUGEPAGE);
    return memory;
  }
#endif
  return std::aligned_alloc(alignment, bytes);
}

class Cache {
 public:
  Header* take(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    // The smallest that fits, and not one so large that its owner will miss it.
    auto best = kept_.end();
    for (auto it = kept_.begin(); it != kept_.end(); ++it) {
      const std::size_t capacity = (*it)->capacity;
      if (capacity >= bytes && capacity / 2 <= bytes && (best == kept_.end() || capacity < (*best)->capacity))
        best = it;
    }
    if (best == kept_.end()) return nullptr;
    Header* found = *best;
    kept_.erase(best);
    kept_bytes_ -= found->capacity;
    use(found->capacity);
    return found;
  }

  // Memory in use and memory kept are together no more than was in use of late, or than what is always kept
  // besides: a large model's step finds its memory again, and a process does not grow by it.
  void give(Header* header) noexcept {
    const std::lock_guard lock(mutex_);
    kept_.push_back(header);  // Room for it was reserved when it was made.
    kept_bytes_ += header->capacity;
    in_use_ -= header->capacity;
    const std::size_t recent = std::min(peak_.bytes(), most_kept_bytes());
    const std::size_t most = std::max(always_kept_bytes, recent - std::min(recent, in_use_));
    while (kept_bytes_ > most) {
      kept_bytes_ -= kept_.front()->capacity;
      std::free(kept_.front());
      kept_.erase(kept_.begin());
      --made_;
    }
  }

  Header* make(std::size_t bytes) {
    {
      const std::lock_guard lock(mutex_);
      kept_.reserve(made_ + 1);
      ++made_;
    }
    void* memory = allocate(sizeof(Header) + bytes);
    if (memory == nullptr) {
      const std::lock_guard lock(mutex_);
      --made_;
      throw std::bad_alloc();
    }
    const std::lock_guard lock(mutex_);
    use(bytes);
    return new (memory) Header{bytes};
  }

  // A child process must not inherit the lock from a thread that it does not have.
  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  void use(std::size_t bytes) {
    in_use_ += bytes;
    peak_.taken(in_use_);
  }

  std::mutex mutex_;
  std::vector<Header*> kept_;
  std::size_t kept_bytes_ = 0;
  std::size_t in_use_ = 0;
  RecentPeak peak_;
  std::size_t made_ = 0;
};

// Never destroyed: buffers owned by Python objects may outlive static objects.
Cache& cache() {
  static Cache* instance = [] {
    pthread_atfork([] { cache().lock(); }, [] { cache().unlock(); }, [] { cache().unlock(); });
    return new Cache;
  }();
  return *instance;
}

}  // namespace

void* take_memory(std::size_t bytes) {
  bytes = (std::max<std::size_t>(bytes, 1) + alignment - 1) / alignment * alignment;
  Header* header = cache().take(bytes);
  if (header == nullptr) header = cache().make(bytes);
  return header + 1;
}

void give_memory(void* memory) noexcept { cache().give(static_cast<Header*>(memory) - 1); }

}  // namespace fusedlstm
