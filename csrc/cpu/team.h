// The thread team: kernels run on the calling thread and on workers that are kept between calls, or on the
// threads of an OpenMP runtime that the process has anyway (openmp.h).
//
// A job is a sequence of phases, and each phase a number of shares, which have to be done before the next one
// begins. Whoever is there does them: the caller begins alone, workers join at the phase that they find, and
// a share is done by the thread that claims it. So a call never waits for a thread that has not come, and who
// does a share never changes its bits.
#pragma once

#include <cstdint>

#include "../inline.h"
#include "../lstm.h"

namespace fusedlstm {

class Phases;
class Interruptible;

// A thread in a job.
class Worker {
 public:
  // Alone: it does all shares of every phase itself.
  explicit Worker(Interruptible* interruptible) : interruptible_(interruptible) {}
  // The same within a share of a job.
  static Worker alone(const Worker& outer) {
    Worker worker(outer.interruptible_);
    worker.id_ = outer.id_;
    worker.is_caller_ = outer.is_caller_;
    return worker;
  }

  // Below the lease's count(): that of this thread's scratch memory.
  int id() const { return id_; }

  // Calls work(share) for the shares of [0, count) that no other thread does, and returns when all are done.
  // Everything before in the job's body must be the same for all of its threads, and cheap, since a thread
  // that joins late goes through all phases that are done already. False, also for all phases after: the
  // thread has left, as others go on without it or the call was interrupted, and should return soon. Of the
  // job's last phase workers do not see the end.
  template <class Work>
  FUSEDLSTM_INLINE bool phase(int count, const Work& work, bool last = false) {
    return run([](const void* context, int share) { (*static_cast<const Work*>(context))(share); }, &work,
               count, last);
  }

  // Whether the work is to be left as it is, since its caller was interrupted; asked about every so many
  // operations.
  bool stopped(Index operations);
  // Whether it ever may be.
  bool interruptible() const { return interruptible_ != nullptr; }

 private:
  friend class Phases;
  using Function = void (*)(const void* context, int share);
  Worker(Phases* phases, int id, std::uint64_t done, Interruptible* interruptible)
      : id_(id), is_caller_(id == 0), done_(done), phases_(phases), interruptible_(interruptible) {}
  bool run(Function work, const void* context, int count, bool last);

  int id_ = 0;
  bool is_caller_ = true;
  bool left_ = false;
  bool owns_ = false;       // Share id_ is this thread's in the phases to come.
  std::uint64_t done_ = 0;  // phases
  Phases* phases_ = nullptr;
  Interruptible* interruptible_;
};

// How a call compares with the time that it takes to wake a worker.
enum class Length {
  tiny,   // over before
  brief,  // gains nothing
  ample,
};

// The threads that a call is worth.
struct Job {
  int threads = 1;  // at most
  Length length = Length::ample;
};

// Borrows the team for the duration of a call. When another thread has it, the lease is the caller alone:
// results do not depend on the number of threads.
class TeamLease {
 public:
  explicit TeamLease(const Job& job);
  ~TeamLease();
  TeamLease(const TeamLease&) = delete;
  TeamLease& operator=(const TeamLease&) = delete;

  // Threads that may take part: the shares that a phase is best cut into.
  int count() const { return count_; }

  // Calls body(worker) on the calling thread, and on those that join, and returns when all have left. The
  // body must not throw.
  template <class Body>
  void run(const Body& body) {
    run_erased([](const void* context, Worker& worker) { (*static_cast<const Body*>(context))(worker); },
               &body, true);
  }

  // A job of one phase, which is never interrupted: calls work(share) for each of count() shares.
  template <class Work>
  void share(const Work& work) {
    const auto body = [&](Worker& worker) { worker.phase(count_, work, true); };
    run_erased(
        [](const void* context, Worker& worker) { (*static_cast<const decltype(body)*>(context))(worker); },
        &body, false);
  }

 private:
  using Function = void (*)(const void*, Worker&);
  void run_erased(Function function, const void* context, bool interruptible);

  void* team_ = nullptr;
  int count_ = 1;
};

// Whether the last job of the calling thread that asked for several ran on the threads of an OpenMP runtime.
bool last_job_on_openmp();

// The most threads a call may use; set to 0, default_threads() of cores.h says it.
inline constexpr int max_threads = 1024;
int num_threads();
void set_num_threads(int count);

}  // namespace fusedlstm
