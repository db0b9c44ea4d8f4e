// The OpenMP threads of another library in this process, for the team to run on in place of its own workers.
//
// After each of its loops such a library's idle threads spin for milliseconds on all cores (GOMP_SPINCOUNT,
// KMP_BLOCKTIME). A second set of threads would wait for them; the spinning ones begin a loop at once.
#pragma once

#include <ctime>
#include <string>
#include <vector>

namespace fusedlstm {

// Entry points of an OpenMP runtime: libgomp's interface to compilers, which LLVM's and Intel's have too.
struct OpenMP {
  void (*parallel)(void (*body)(void*), void* context, unsigned threads, unsigned flags);
  int (*thread_num)();
  int (*max_threads)();
  int (*thread_limit)();
  int (*in_parallel)();
  int (*dynamic)();

  // Whether a loop asked for now gets `count` threads for certain (OpenMP 5.2, 10.1.1).
  bool has(int count) const {
    return count <= max_threads() && max_threads() <= thread_limit() && in_parallel() == 0 && dynamic() == 0;
  }
};

// The threads of the loops that one thread has begun. A loop ends when all of them have come, so that one on
// threads that sleep, or whose cores other processes have, would wait for them.
class OpenMPThreads {
 public:
  // Before a loop of so many threads, and then by each of them but the first.
  void expect(int count);
  void note(int id);
  // Whether threads 1 to count - 1 of the last loop are running right now. Unknown ones are taken to be.
  bool have_cores(int count) const;

 private:
  struct Thread {
    bool known = false;
    clockid_t processor_time = 0;
  };
  std::vector<Thread> threads_;
};

// From now on, teams run on the threads of the OpenMP runtime that this loaded library uses. Returns false,
// and changes nothing, if it uses none with this interface, or one whose threads were told not to spin
// (OMP_WAIT_POLICY, GOMP_SPINCOUNT, KMP_BLOCKTIME). A forked child leaves: OpenMP's threads stay behind.
bool join_openmp(const std::string& library);
void leave_openmp();

// The joined runtime, or null.
const OpenMP* joined_openmp();

}  // namespace fusedlstm
