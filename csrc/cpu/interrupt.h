// Calls that take long ask now and then whether to go on, so that Ctrl-C need not wait for them.
#pragma once

#include <atomic>
#include <chrono>
#include <exception>

#include "../lstm.h"

namespace fusedlstm {

// While one lives, the kernels that its thread calls may be stopped: after every 50 milliseconds they call
// goes_on(context), and once it answers false they return early, with results that are of no use. Kernels
// outside of any are never stopped.
class Interruptible {
 public:
  Interruptible(bool (*goes_on)(void* context), void* context);
  ~Interruptible();
  Interruptible(const Interruptible&) = delete;
  Interruptible& operator=(const Interruptible&) = delete;

  // The calling thread's innermost one, or null.
  static Interruptible* current();

  // For loops of the calling thread outside of the team's jobs: whether to leave what they do as it is, asked
  // after so many operations more.
  static bool leave(Index operations) {
    Interruptible* innermost = current();
    return innermost != nullptr && innermost->ask(operations);
  }

  bool stopped() const { return stopped_.load(std::memory_order_relaxed); }

  // By the thread that made it, after so many operations more; returns stopped().
  bool ask(Index operations) {
    operations_ += operations;
    return operations_ < operations_before_clock ? stopped() : look_at_clock();
  }
  bool look_at_clock();

 private:
  // A clock takes some 20 nanoseconds to read, these operations at least 20 microseconds.
  static constexpr Index operations_before_clock = 4'000'000;

  // Read by all threads of a job, and so apart, by the reach of the prefetcher of neighbouring cache lines,
  // from what the thread that made it writes.
  alignas(128) std::atomic<bool> stopped_{false};
  alignas(128) Index operations_ = 0;
  std::chrono::steady_clock::time_point next_;
  bool (*goes_on_)(void*);
  void* context_;
  Interruptible* outer_;
};

// Thrown by the caller of a job, outside of it, where no result can stand for one that was left unfinished.
class Interrupted : public std::exception {
 public:
  const char* what() const noexcept override { return "interrupted"; }
};

}  // namespace fusedlstm
