// The interpreter's lock, given up while a kernel runs.
#pragma once

#include <pybind11/pybind11.h>

namespace fusedlstm::bindings {

// From here to the end of the block the calling thread does without the interpreter's lock, and may not touch
// Python objects. In place of pybind11's guard, for the sake of daemon threads: see take().
class WithoutLock {
 public:
  WithoutLock() : state_(PyEval_SaveThread()) {}
  ~WithoutLock() { take(state_); }
  WithoutLock(const WithoutLock&) = delete;
  WithoutLock& operator=(const WithoutLock&) = delete;

 private:
  // Takes the lock again. A thread that comes while the interpreter is shutting down never returns from here;
  // it stands still until the process ends.
  static void take(PyThreadState* state);

  PyThreadState* state_;
};

}  // namespace fusedlstm::bindings
