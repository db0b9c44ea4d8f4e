// How the threads of a job divide its phases among them, and wait for one another.
//
// Each share has a place, which says how many phases of it are done and whether a thread has it. Thread i
// owns share i from the phase at which it joins until it leaves; a phase then costs it one store and a look
// at the other places, and no atomic operation that other cores take part in. Shares without an owner are
// claimed, phase by phase, by whoever has done its own.
//
// Only a share that some thread has is waited for: first awake; then the caller sleeps for moments, which
// leaves its core to a thread that lost another one, and a worker leaves the job, which is finished without
// it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "team.h"

namespace fusedlstm {

class Phases {
 public:
  using Clock = std::chrono::steady_clock;

  // The state of one share, and of the thread of its number. One cache line: a thread that joins needs it
  // once.
  struct alignas(128) Place {
    std::atomic<std::uint64_t> done{0};  // phases
    // The job that the thread was in last, and whether it is in it, for its team.
    std::atomic<std::uint64_t> visit{0};
    std::atomic<bool> taken{false};

    bool take() {
      return !taken.load(std::memory_order_relaxed) && !taken.exchange(true, std::memory_order_acq_rel);
    }
    void give_back() { taken.store(false, std::memory_order_release); }
    bool has(std::uint64_t phases) const { return done.load(std::memory_order_acquire) >= phases; }
  };

  // Hears of shares that their owners were not there to do.
  class Owners {
   public:
    virtual void call(int id) = 0;

   protected:
    ~Owners() = default;
  };
  explicit Phases(Owners& owners) : owners_(owners) {}

  // Before a job of phases with at most `shares` shares, while no thread is in any; returns the caller.
  Worker begin(int shares, Interruptible* interruptible);
  std::uint64_t first() const { return first_; }
  // Another thread that takes part in it. `first`, the phases of the jobs before, and `interruptible` are as
  // they were when it began.
  Worker join(int id, std::uint64_t first, Interruptible* interruptible) {
    return {this, id, first, interruptible};
  }
  // A worker leaves the job, or all have left and the caller ends it.
  void leave(Worker& worker);
  void end(Worker& caller);

  // The place of a share. It stays where it is.
  Place& place(int id);

  // As Worker::phase.
  bool run(Worker& worker, Worker::Function work, const void* context, int count, bool last);

  // For the caller: returns once done() holds, which the others bring about.
  template <class Done>
  void await(const Done& done) {
    for (Patience patience(began_, 1); !done();) {
      if (!patience.lasts()) rest();
    }
  }
  // For how long the caller of this job has slept, while a thread without a core had a share.
  Clock::duration rested() const { return rested_; }

 private:
  // How long to wait awake: as long as others may be at work on two phases, or on what is left of the first
  // one; no less than sleeping costs, and no longer than others would wait for this core.
  class Patience {
   public:
    Patience(Clock::time_point began, std::uint64_t phases) : began_(began), phases_(phases) {}
    bool lasts();

   private:
    Clock::time_point began_;
    std::uint64_t phases_;
    Clock::time_point end_{};
    int spins_ = 0;
  };

  // Leaves the core to others for a moment. No thread wakes the caller: it would come to lie behind that
  // thread, on its core (placement.h), where the caller's own clock wakes it on this one.
  void rest();
  // Does a share that no thread has, if it is not done: whether it did.
  bool claim(Place& place, std::uint64_t phases, Worker::Function work, const void* context, int share);
  bool wait(Worker& worker, Worker::Function work, const void* context, int count);

  Owners& owners_;
  std::vector<std::unique_ptr<Place>> places_;
  std::uint64_t first_ = 0;  // phases of the jobs before
  Clock::time_point began_{};
  unsigned strays_ = 0;  // shares that the caller did for others
  Clock::duration rested_{};
};

}  // namespace fusedlstm
