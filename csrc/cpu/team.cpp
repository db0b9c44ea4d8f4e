#include "team.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <system_error>
#include <thread>
#include <vector>

#include "cores.h"
#include "openmp.h"

namespace fusedlstm {
namespace {

inline void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

using Clock = std::chrono::steady_clock;

// Spinning covers gaps of microseconds, inside a call or between two calls of a loop. A waiter then lets
// other processes have the core, and an idle worker sleeps.
template <class Done>
bool spin(const Done& done) {
  constexpr int spins = 2000;
  for (int i = 0; i < spins; ++i) {
    if (done()) return true;
    pause_briefly();
  }
  return false;
}

// Returns for how long it yielded.
template <class Done>
Clock::duration spin_then_yield(const Done& done) {
  if (spin(done)) return {};
  const Clock::time_point start = Clock::now();
  while (!done()) sched_yield();
  return Clock::now() - start;
}

// Longer than a sleeping thread takes to wake: who has waited so long at a barrier waits for a core.
constexpr Clock::duration long_wait = std::chrono::microseconds(500);

struct Barrier {
  alignas(64) std::atomic<int> arrived{0};
  alignas(64) std::atomic<std::uint32_t> phase{0};
  std::atomic<bool> waited_long{false};  // in this job

  void wait(int count) {
    const std::uint32_t now = phase.load(std::memory_order_relaxed);
    if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == count) {
      arrived.store(0, std::memory_order_relaxed);
      phase.store(now + 1, std::memory_order_release);
    } else if (spin_then_yield([&] { return phase.load(std::memory_order_acquire) != now; }) > long_wait) {
      waited_long.store(true, std::memory_order_relaxed);
    }
  }
};

class Team {
 public:
  using Function = void (*)(const void*, const Worker&);

  bool try_acquire() { return !busy_.exchange(true, std::memory_order_acquire); }
  void release() { busy_.store(false, std::memory_order_release); }

  // Finds the threads for a job, starting the workers that are missing; returns how many can run, the caller
  // included.
  int find_threads(int wanted) {
    openmp_ = joined_openmp();
    if (openmp_ != nullptr && openmp_->has(wanted)) return wanted;
    openmp_ = nullptr;
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

  // How many of `count` threads are awake, the caller included. A small job that comes soon after another one
  // wakes the others, which is too late for itself, but not for the next.
  int awake(int count) {
    if (openmp_ != nullptr) return Clock::now() - last_small_ < often ? count : 1;
    int ready = 1;
    while (ready < count && seat(ready).awake.load(std::memory_order_relaxed)) ++ready;
    if (ready < count && Clock::now() - last_small_ < often) {
      for (int id = ready; id < count; ++id) seat(id).wake();
    }
    return ready;
  }
  void end_small() { last_small_ = Clock::now(); }

  // Threads that waited long at a barrier lack a core that another process holds. Jobs that meet often then
  // run alone for a while, which doubles each time that it was too short.
  bool crowded() const { return crowded_for_ > Clock::duration::zero() && Clock::now() < crowded_until_; }
  void look_at_barrier() {
    if (!barrier_.waited_long.load(std::memory_order_relaxed)) return;
    const Clock::time_point now = Clock::now();
    const bool again = now < crowded_until_ + crowded_for_;
    crowded_for_ = again ? std::min(2 * crowded_for_, longest_crowded) : shortest_crowded;
    crowded_until_ = now + crowded_for_;
  }

  void run(int count, Function function, const void* context) {
    function_ = function;
    context_ = context;
    count_ = count;
    barrier_.waited_long.store(false, std::memory_order_relaxed);
    if (openmp_ != nullptr) {
      // All of its threads come, as in its owner's loops: a loop of fewer would end the others.
      openmp_->parallel(&Team::take_part, this, static_cast<unsigned>(openmp_->max_threads()), 0);
      return;
    }
    running_.store(count - 1, std::memory_order_relaxed);
    for (int id = 1; id < count; ++id) {
      seat(id).has_job.store(true, std::memory_order_release);
      seat(id).wake();
    }
    function(context, Worker{0, count, &barrier_});
    spin_then_yield([&] { return running_.load(std::memory_order_acquire) == 0; });
  }

 private:
  // Each worker waits at a seat of its own, so that a small job wakes only the workers it needs.
  struct alignas(64) Seat {
    std::atomic<std::uint32_t> calls{0};
    std::atomic<bool> has_job{false};
    std::atomic<bool> awake{false};

    void wake() {
      calls.fetch_add(1, std::memory_order_release);
      calls.notify_one();
    }
  };

  // To wake a worker takes some 50 microseconds of its share of a call. Where the last call came within this
  // time, it stays awake as long for the next, but leaves the core to others: a yield that takes longer than
  // this went to one of them.
  static constexpr Clock::duration soon = std::chrono::milliseconds(1);
  static constexpr Clock::duration others = std::chrono::microseconds(50);
  static constexpr Clock::duration often = std::chrono::microseconds(30);
  static constexpr Clock::duration shortest_crowded = std::chrono::milliseconds(5);
  static constexpr Clock::duration longest_crowded = std::chrono::milliseconds(200);

  static void take_part(void* context) {
    Team& team = *static_cast<Team*>(context);
    const int id = team.openmp_->thread_num();
    if (id < team.count_) team.function_(team.context_, Worker{id, team.count_, &team.barrier_});
  }

  int size() const { return static_cast<int>(seats_.size()) + 1; }
  Seat& seat(int id) { return *seats_[static_cast<std::size_t>(id - 1)]; }

  void work(int id, Seat* seat) {
    Clock::time_point idle_since = Clock::now();
    bool patient = false;  // the last call came soon after the one before
    for (std::uint32_t seen = 0;; ++seen) {
      const auto called = [&] { return seat->calls.load(std::memory_order_acquire) != seen; };
      seat->awake.store(true, std::memory_order_relaxed);
      spin(called);
      for (Clock::time_point now = Clock::now(); patient && !called() && now - idle_since < soon;) {
        const Clock::time_point before = now;
        sched_yield();
        now = Clock::now();
        patient = now - before < others;
      }
      if (!called()) {
        seat->awake.store(false, std::memory_order_relaxed);
        seat->calls.wait(seen, std::memory_order_acquire);
      }
      patient = Clock::now() - idle_since < soon;
      if (!seat->has_job.exchange(false, std::memory_order_acquire)) continue;
      function_(context_, Worker{id, count_, &barrier_});
      running_.fetch_sub(1, std::memory_order_release);
      idle_since = Clock::now();
    }
  }

  std::atomic<bool> busy_{false};
  std::atomic<int> running_{0};
  Barrier barrier_;
  const OpenMP* openmp_ = nullptr;  // for this job
  std::vector<std::unique_ptr<Seat>> seats_;
  Function function_ = nullptr;
  const void* context_ = nullptr;
  int count_ = 1;
  Clock::time_point last_small_{};
  Clock::time_point crowded_until_{};
  Clock::duration crowded_for_{};
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

TeamLease::TeamLease(const Job& job) : small_(job.small), meets_often_(job.meets_often) {
  if (job.threads <= 1) return;
  Team& shared = team();
  if (!shared.try_acquire()) return;
  team_ = &shared;
  if (job.meets_often && shared.crowded()) return;
  count_ = shared.find_threads(job.threads);
  if (job.small) count_ = shared.awake(count_);
}

TeamLease::~TeamLease() {
  if (team_ == nullptr) return;
  Team& shared = *static_cast<Team*>(team_);
  if (meets_often_ && count_ > 1) shared.look_at_barrier();
  if (small_) shared.end_small();
  shared.release();
}

void TeamLease::run_erased(Function function, const void* context) {
  if (count_ > 1) {
    static_cast<Team*>(team_)->run(count_, function, context);
  } else {
    function(context, Worker{0, 1, nullptr});
  }
}

int num_threads() {
  const int limit = thread_limit.load(std::memory_order_relaxed);
  return limit > 0 ? limit : default_threads().threads;
}

void set_num_threads(int count) { thread_limit.store(count, std::memory_order_relaxed); }

}  // namespace fusedlstm
