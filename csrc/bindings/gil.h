// The interpreter's lock, given up while a kernel runs.
#pragma once

#include <pybind11/pybind11.h>

#include <optional>

#include "../cpu/interrupt.h"

namespace fusedlstm::bindings {

// From here to the end of the block the calling thread does without the interpreter's lock, and may not touch
// Python objects. In place of pybind11's guard, for the sake of daemon threads: see take().
class WithoutLock {
 public:
  WithoutLock() : state_(PyEval_SaveThread()) {}
  ~WithoutLock() { take(state_); }
  WithoutLock(const WithoutLock&) = delete;
  WithoutLock& operator=(const WithoutLock&) = delete;

  // Calls f(), which must not throw, with the lock.
  template <class F>
  auto with_lock(const F& f) {
    take(state_);
    const auto result = f();
    state_ = PyEval_SaveThread();
    return result;
  }

 private:
  // Takes the lock again. A thread that comes while the interpreter is shutting down never returns from here;
  // it stands still until the process ends.
  static void take(PyThreadState* state);

  PyThreadState* state_;
};

// The same for a call whose kernels may take long, and write nothing but new arrays: a signal whose handler
// raises, as Ctrl-C does, ends them. Only the main thread handles signals; the calls of others ask once.
// Calls that write into arrays of the caller are WithoutLock, since half of an update would be no state that
// anything could go on from: a signal is handled after them.
class LongCall {
 public:
  LongCall() : unlocked_(std::in_place), scope_(&LongCall::goes_on, this) {}

  // Takes the lock, at the end of the block, and throws what the handler raised, if the kernels were stopped:
  // what they have written is of no use.
  void finish() {
    unlocked_.reset();
    if (scope_.stopped()) throw pybind11::error_already_set();
  }

 private:
  static bool goes_on(void* call);

  std::optional<WithoutLock> unlocked_;
  bool handles_signals_ = true;
  Interruptible scope_;
};

// The same for a loop that needs the lock: asked after so many elements more, it throws what a signal's
// handler raised.
class Signals {
 public:
  void check_after(Index elements) {
    elements_ += elements;
    if (elements_ < elements_before_check) return;
    elements_ = 0;
    if (PyErr_CheckSignals() != 0) throw pybind11::error_already_set();
  }

 private:
  static constexpr Index elements_before_check = 10'000'000;  // some 10 milliseconds

  Index elements_ = 0;
};

}  // namespace fusedlstm::bindings
