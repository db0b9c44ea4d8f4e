#include "team.h"

#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <system_error>
#include <thread>
#include <vector>

namespace fusedlstm {
namespace {

inline void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spinning covers gaps of microseconds, inside a call or between two calls of a loop. A waiter then lets
// other processes have the core, and an idle worker sleeps.
constexpr int spins = 2000;

template <class Done>
void spin_then_yield(const Done& done) {
  for (int i = 0; !done(); ++i) {
    if (i < spins) {
      pause_briefly();
    } else {
      sched_yield();
    }
  }
}

struct Barrier {
  alignas(64) std::atomic<int> arrived{0};
  alignas(64) std::atomic<std::uint32_t> phase{0};

  void wait(int count) {
    const std::uint32_t now = phase.load(std::memory_order_relaxed);
    if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == count) {
      arrived.store(0, std::memory_order_relaxed);
      phase.store(now + 1, std::memory_order_release);
    } else {
      spin_then_yield([&] { return phase.load(std::memory_order_acquire) != now; });
    }
  }
};

class Team {
 public:
  using Function = void (*)(const void*, const Worker&);

  bool try_acquire() { return !busy_.exchange(true, std::memory_order_acquire); }
  void release() { busy_.store(false, std::memory_order_release); }

  // Starts the workers that are missing; returns how many threads can run, the caller included.
  int grow(int wanted) {
    while (size() < wanted) {
      seats_.push_back(std::make_unique<Seat>());
      try {
        std::thread(&Team::work, this, size() - 1, seats_.back().get()).detach();
      } catch (const std::system_error&) {
        seats_.pop_back();  // The system gives no more threads; fewer compute the same bits.
        break;
      }
    }
    return size() < wanted ? size() : wanted;
  }

  void run(int count, Function function, const void* context) {
    function_ = function;
    context_ = context;
    count_ = count;
    running_.store(count - 1, std::memory_order_relaxed);
    for (int i = 0; i + 1 < count; ++i) {
      Seat& seat = *seats_[static_cast<std::size_t>(i)];
      seat.job.fetch_add(1, std::memory_order_release);
      seat.job.notify_one();
    }
    function(context, Worker{0, count, &barrier_});
    spin_then_yield([&] { return running_.load(std::memory_order_acquire) == 0; });
  }

 private:
  // Each worker waits at a seat of its own, so that a small job wakes only the workers it needs.
  struct alignas(64) Seat {
    std::atomic<std::uint32_t> job{0};
  };

  int size() const { return static_cast<int>(seats_.size()) + 1; }

  void work(int id, Seat* seat) {
    for (std::uint32_t seen = 0;; ++seen) {
      for (int i = 0; i < spins && seat->job.load(std::memory_order_acquire) == seen; ++i) pause_briefly();
      seat->job.wait(seen, std::memory_order_acquire);
      function_(context_, Worker{id, count_, &barrier_});
      running_.fetch_sub(1, std::memory_order_release);
    }
  }

  std::atomic<bool> busy_{false};
  std::atomic<int> running_{0};
  Barrier barrier_;
  std::vector<std::unique_ptr<Seat>> seats_;
  Function function_ = nullptr;
  const void* context_ = nullptr;
  int count_ = 1;
};

// Never destroyed: its workers sleep until the process ends. After a fork the child has no workers, so it
// forgets the parent's team and makes its own when it first needs one.
std::atomic<Team*> current_team{nullptr};

Team& team() {
  static const int registered = pthread_atfork(nullptr, nullptr, [] { current_team.store(nullptr); });
  static_cast<void>(registered);
  Team* existing = current_team.load(std::memory_order_acquire);
  if (existing != nullptr) return *existing;
  auto fresh = std::make_unique<Team>();
  if (current_team.compare_exchange_strong(existing, fresh.get(), std::memory_order_acq_rel)) {
    return *fresh.release();
  }
  return *existing;
}

std::atomic<int> thread_limit{0};

}  // namespace

void Worker::wait() const {
  if (count > 1) static_cast<Barrier*>(barrier)->wait(count);
}

TeamLease::TeamLease(int wanted) {
  if (wanted <= 1) return;
  Team& shared = team();
  if (!shared.try_acquire()) return;
  team_ = &shared;
  count_ = shared.grow(wanted);
}

TeamLease::~TeamLease() {
  if (team_ != nullptr) static_cast<Team*>(team_)->release();
}

void TeamLease::run_erased(Function function, const void* context) {
  if (count_ > 1) {
    static_cast<Team*>(team_)->run(count_, function, context);
  } else {
    function(context, Worker{0, 1, nullptr});
  }
}

int num_threads() {
  static const int usable = static_cast<int>(std::thread::hardware_concurrency());
  const int limit = thread_limit.load(std::memory_order_relaxed);
  if (limit > 0) return limit;
  return usable > 0 ? usable : 1;
}

void set_num_threads(int count) { thread_limit.store(count, std::memory_order_relaxed); }

}  // namespace fusedlstm
