// On which core a thread runs.
//
// Schedulers put a woken thread on the core of the one that woke it, behind it, and some leave it there for
// milliseconds, however idle the other cores are. So a worker is barred from its caller's core while it is
// woken. Nothing is bound to a core: the bar is lifted as soon as the worker runs.
#pragma once

#include <atomic>
#include <memory>

namespace fusedlstm {

// The core of the calling thread, or -1 where the system does not say.
int current_core();

// A thread that others wake.
class Placement {
 public:
  Placement();
  ~Placement();
  Placement(const Placement&) = delete;
  Placement& operator=(const Placement&) = delete;

  // By the thread itself, first.
  void begin();
  // By the one who is about to wake it: keeps it from a core, if there is another one that it may run on.
  void bar(int core);
  // By the thread itself, after it was woken and now and then.
  void settle();
  // By the thread itself: leaves a core for another one, where it stays until the system moves it.
  void leave(int core) {
    bar(core);
    settle();
  }

 private:
  struct Cores;
  std::unique_ptr<Cores> cores_;
  std::atomic<int> thread_{0};
  enum class State { free, changing, barred };
  std::atomic<State> state_{State::free};
};

}  // namespace fusedlstm
