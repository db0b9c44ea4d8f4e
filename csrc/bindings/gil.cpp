#include "gil.h"

#include <unistd.h>

namespace fusedlstm::bindings {
namespace {

// Stops the thread where it would be unwound. Frames that ask for the lock hold Python objects, which must
// not be let go without it; and unwinding ends the process in the first destructor that it would leave.
class NeverUnwound {
 public:
  ~NeverUnwound() {
    while (unwinding) pause();
  }
  bool unwinding = true;
};

}  // namespace

// Before Python 3.14, PyEval_RestoreThread ends a thread that asks for the lock at shutdown by pthread_exit,
// which with glibc unwinds the thread's frames, destructors and all, though not as a C++ exception that a
// handler is sure to catch. From 3.14 on it lets such a thread hang, which NeverUnwound does for all
// versions. The function must not be noexcept, nor inlined into one that is: the unwinding would end in
// std::terminate before the destructor.
[[gnu::noinline]] void WithoutLock::take(PyThreadState* state) {
  NeverUnwound guard;
  PyEval_RestoreThread(state);
  guard.unwinding = false;
}

bool LongCall::goes_on(void* call) {
  LongCall& self = *static_cast<LongCall*>(call);
  if (!self.handles_signals_) return true;
  return self.unlocked_->with_lock([&] {
    namespace py = pybind11;
    if (PyErr_CheckSignals() != 0) return false;
    try {
      const py::object main_thread = py::module_::import("threading").attr("main_thread")().attr("ident");
      self.handles_signals_ = main_thread.equal(py::int_(PyThread_get_thread_ident()));
      return true;
    } catch (py::error_already_set& error) {  // A signal may have come meanwhile.
      error.restore();
      return false;
    }
  });
}

}  // namespace fusedlstm::bindings
