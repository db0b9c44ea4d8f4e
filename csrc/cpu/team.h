// The thread team: kernels run on the calling thread and on workers that are kept between calls, or on the
// threads of an OpenMP runtime that the process has anyway (openmp.h).
#pragma once

namespace fusedlstm {

// One thread's place in a running team.
struct Worker {
  int id;
  int count;
  void* barrier;

  // Waits until every thread of the team has come here: spins, then yields.
  void wait() const;
};

// What a call is worth. A sleeping worker takes longer to wake than a small job takes to do; and a job whose
// threads meet every few microseconds needs all their cores at once.
struct Job {
  int threads = 1;           // at most
  bool small = false;        // use only workers that are awake
  bool meets_often = false;  // one thread while other processes hold the cores
};

// Borrows the team for the duration of a call. When another thread has it, the lease is the caller alone:
// results do not depend on the number of threads.
class TeamLease {
 public:
  explicit TeamLease(const Job& job);
  ~TeamLease();
  TeamLease(const TeamLease&) = delete;
  TeamLease& operator=(const TeamLease&) = delete;

  int count() const { return count_; }

  // Calls body(worker) once on each of count() threads and returns when all have finished. The body must not
  // throw.
  template <class Body>
  void run(const Body& body) {
    run_erased(
        [](const void* context, const Worker& worker) { (*static_cast<const Body*>(context))(worker); },
        &body);
  }

 private:
  using Function = void (*)(const void*, const Worker&);
  void run_erased(Function function, const void* context);

  void* team_ = nullptr;
  int count_ = 1;
  bool small_ = false;
  bool meets_often_ = false;
};

// The most threads a call may use; set to 0, default_threads() of cores.h says it.
inline constexpr int max_threads = 1024;
int num_threads();
void set_num_threads(int count);

}  // namespace fusedlstm
