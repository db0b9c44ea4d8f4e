// How the threads of a job divide its phases among them, and wait for one another.
//
// Each share has a place, which says how many phases of it are done and whether a thread has it. Thread i
// owns share i from the phase at which it joins until it leaves; a phase then costs it one store and a look
// at the other places, and no atomic operation that other cores take part in. Shares without an owner are
// claimed, phase by phase, by whoever has done its own.
//
// Only a share that some thread has is waited for: first awake; then the caller sleeps, which leaves its core
// to a thread that lost another one, and a worker leaves the job, which is finished without it.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>

#include "team.h"

namespace fusedlstm {

class Phases {
 public:
  using Clock = std::chrono::steady_clock;

  // Hears of shares that their owners were not there to do.
  class Owners {
   public:
    virtual void call(int id) = 0;

   protected:
    ~Owners() = default;
  };
  explicit Phases(Owners& owners) : owners_(owners) {}

  // Before a job of phases with at most `shares` shares, while no thread is in any.
  void begin(int shares, Interruptible* interruptible);
  // A thread that takes part in it; the caller is the one with id 0.
  Worker join(int id) { return {this, id, first_, interruptible_}; }
  // A thread leaves the job; the caller does so last.
  void leave(Worker& worker);

  // As Worker::phase.
  bool run(Worker& worker, Worker::Function work, const void* context, int count);

  // For the caller: returns once done() holds, which the others bring about before they call look_up().
  template <class Done>
  void await(const Done& done) {
    for (Patience patience(began_); !done();) {
      if (!patience.lasts()) sleep(done);
    }
  }
  void look_up() {
    if (caller_sleeps_.load(std::memory_order_seq_cst)) wake_caller();
  }

 private:
  struct alignas(128) Place {
    std::atomic<std::uint64_t> done{0};  // phases
    std::atomic<bool> taken{false};

    bool take() {
      return !taken.load(std::memory_order_relaxed) && !taken.exchange(true, std::memory_order_acq_rel);
    }
    void give_back() { taken.store(false, std::memory_order_release); }
    bool has(std::uint64_t phases) const { return done.load(std::memory_order_acquire) >= phases; }
  };

  // How long to wait awake: 50 microseconds, which is what sleeping costs, or a sixteenth of what the job has
  // taken, since shares of long phases differ by more; but no longer than others would have to wait for the
  // core.
  class Patience {
   public:
    explicit Patience(Clock::time_point began) : began_(began) {}
    bool lasts();

   private:
    Clock::time_point began_;
    Clock::time_point end_{};
    int spins_ = 0;
  };

  template <class Done>
  void sleep(const Done& done) {
    std::unique_lock lock(mutex_);
    caller_sleeps_.store(true, std::memory_order_seq_cst);
    // The time limit is that of Interruptible.
    if (!done()) looks_up_.wait_for(lock, std::chrono::milliseconds(50));
    caller_sleeps_.store(false, std::memory_order_relaxed);
  }
  void wake_caller();
  void set_done(Place& place, std::uint64_t phases);
  // Does a share that no thread has, if it is not done: whether it did.
  bool claim(Place& place, std::uint64_t phases, Worker::Function work, const void* context, int share);
  bool wait(Worker& worker, Worker::Function work, const void* context, int count);

  Owners& owners_;
  std::unique_ptr<Place[]> places_;
  int place_count_ = 0;
  std::uint64_t first_ = 0;  // phases of the jobs before
  Interruptible* interruptible_ = nullptr;
  Clock::time_point began_{};
  unsigned strays_ = 0;  // shares that the caller did for others

  alignas(128) std::atomic<bool> caller_sleeps_{false};
  std::mutex mutex_;
  std::condition_variable looks_up_;
};

}  // namespace fusedlstm
