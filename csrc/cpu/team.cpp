#include "team.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <system_error>
#include <thread>
#include <vector>

#include "cores.h"
#include "interrupt.h"
#include "openmp.h"
#include "pause.h"
#include "phases.h"
#include "placement.h"

namespace fusedlstm {
namespace {

using Clock = std::chrono::steady_clock;

thread_local OpenMPThreads openmp_threads;

class Team final : Phases::Owners {
 public:
  using Function = void (*)(const void*, Worker&);

  bool try_acquire() { return !busy_.exchange(true, std::memory_order_acquire); }
  void release() { busy_.store(false, std::memory_order_release); }

  // Finds the threads for a job, starting the workers that are missing; returns how many may come, the caller
  // included.
  int find_threads(int wanted, Length length) {
    openmp_ = joined_openmp();
    if (openmp_ != nullptr && openmp_->has(wanted)) {
      if (length == Length::tiny) return wanted;
      const Clock::time_point now = Clock::now();
      if (now >= next_loop_ && (now - last_loop_ < spinning || openmp_threads.have_cores(wanted)))
        return wanted;
    }
    openmp_ = nullptr;
    while (size() < wanted) {
      seats_.push_back(std::make_unique<Seat>(phases_.place(size())));
      try {
        std::thread(&Team::work, this, size() - 1, seats_.back().get()).detach();
      } catch (const std::system_error&) {
        seats_.pop_back();  // The system gives no more threads; fewer compute the same bits.
        break;
      }
    }
    return size() < wanted ? size() : wanted;
  }

  // How many of `count` threads a short job should use, the caller included: those that are awake, and the
  // others where a job has just been. A tiny one wakes them for the next, since they come too late for
  // itself, and does not ask whether OpenMP's are awake.
  int worth_using(int count, Length length) {
    const Clock::time_point now = Clock::now();
    if (length == Length::ample) return now < alone_until_ && now - last_end_ > soon ? 1 : count;
    const bool again = now - last_end_ < (length == Length::tiny ? often : soon);
    if (openmp_ != nullptr) return again || length == Length::brief ? count : 1;
    if (again && length == Length::brief) return count;
    int ready = 1;
    while (ready < count && seat(ready).awake.load(std::memory_order_relaxed)) ++ready;
    for (int id = ready; again && id < count; ++id) seat(id).call(current_core());
    return ready;
  }
  bool on_openmp() const { return openmp_ != nullptr; }
  void end() { last_end_ = Clock::now(); }

  void run(int count, Function function, const void* context, Interruptible* interruptible) {
    Worker caller = phases_.begin(count, interruptible);
    job_.function = function;
    job_.context = context;
    job_.first_phase = phases_.first();
    job_.interruptible = interruptible;
    if (openmp_ != nullptr) {
      // All of its threads come, as in its owner's loops: a loop of fewer would end the others.
      const int all = openmp_->max_threads();
      Loop loop{*this, openmp_threads, count, caller, {}};
      openmp_threads.expect(all);
      openmp_->parallel(&Team::take_part, &loop, static_cast<unsigned>(all), 0);
      phases_.end(caller);
      last_loop_ = Clock::now();
      const Clock::duration waited = last_loop_ - loop.finished;
      if (waited > soon) next_loop_ = last_loop_ + paid_back * waited;
      return;
    }
    job_.core = current_core();
    job_.recalls.store(false, std::memory_order_relaxed);
    const std::uint64_t job = (++jobs_ << id_bits) + static_cast<std::uint64_t>(count);
    job_.open.store(job, std::memory_order_seq_cst);
    call_next(0, count);
    function(context, caller);
    wait_for_visitors(job, count);
    phases_.end(caller);
    const Clock::duration rested = phases_.rested();
    if (rested > soon) alone_until_ = Clock::now() + remembered * rested;
  }

 private:
  // Each worker waits at a seat of its own, so that a job calls only those it needs.
  struct alignas(128) Seat {
    explicit Seat(Phases::Place& own) : place(own) {}

    std::atomic<std::uint32_t> calls{0};
    std::atomic<std::uint64_t> recalled{0};  // the job that a worker that has left it may take up again
    // Written when it changes alone: callers look here before each job.
    std::atomic<bool> awake{false};
    Phases::Place& place;
    Placement placement;

    // Wakes a sleeping worker, for a thread that needs this core itself.
    void call(int core) {
      placement.bar(core);
      calls.fetch_add(1, std::memory_order_release);
      calls.notify_one();
    }
  };

  // To wake a worker takes some 50 microseconds of its share of a call. Where the last call came within this
  // time, it stays awake as long for the next, but leaves the core to others: a yield that takes longer than
  // this went to one of them.
  static constexpr Clock::duration soon = std::chrono::milliseconds(1);
  static constexpr Clock::duration others = std::chrono::microseconds(50);
  static constexpr Clock::duration often = std::chrono::microseconds(30);
  // For so long at least do OpenMP's threads spin after a loop.
  static constexpr Clock::duration spinning = std::chrono::microseconds(200);
  // A loop that ended late, since one of its threads had lost its core, is followed by none for so many times
  // the wait: waiting then costs at most a twentieth of the time.
  static constexpr int paid_back = 20;
  // A share that a thread without a core has is waited for, too. One call in a hundred that does so is what a
  // service sees of them, so that calls after a pause do without workers for so many times the wait.
  static constexpr int remembered = 200;
  static constexpr int id_bits = 16;  // of a job's number, for its count of threads
  static_assert(max_threads < 1 << id_bits);

  struct Loop {
    Team& team;
    OpenMPThreads& threads;
    int count;
    Worker& caller;
    Clock::time_point finished{};  // by the caller
  };

  static void take_part(void* context) {
    Loop& loop = *static_cast<Loop*>(context);
    Team& team = loop.team;
    const int id = team.openmp_->thread_num();
    if (id == 0) {
      team.job_.function(team.job_.context, loop.caller);
      loop.finished = Clock::now();
      return;
    }
    loop.threads.note(id);
    if (id < loop.count) team.work_on_job(id);
  }

  void work_on_job(int id) {
    Worker worker = phases_.join(id, job_.first_phase, job_.interruptible);
    job_.function(job_.context, worker);
    phases_.leave(worker);
  }

  int size() const { return static_cast<int>(seats_.size()) + 1; }
  Seat& seat(int id) { return *seats_[static_cast<std::size_t>(id - 1)]; }

  void call(int id) override {
    if (openmp_ != nullptr) return;  // They are all in the loop.
    const Clock::time_point now = Clock::now();
    if (now - last_call_ < soon) return;
    last_call_ = now;
    job_.recalls.store(true, std::memory_order_relaxed);
    Seat& own = seat(id);
    own.recalled.store(job_.open.load(std::memory_order_relaxed), std::memory_order_relaxed);
    own.call(own.awake.load(std::memory_order_relaxed) ? -1 : current_core());
  }

  // Whoever is there calls two others, so that nobody calls many.
  void call_next(int id, int count) {
    for (int next = std::max(2 * id, 1); next <= 2 * id + 1 && next < count; ++next) {
      if (!seat(next).awake.load(std::memory_order_seq_cst)) seat(next).call(job_.core);
    }
  }

  static constexpr std::uint64_t visiting(std::uint64_t job) { return 2 * job + 1; }
  static constexpr std::uint64_t has_left(std::uint64_t job) { return 2 * job; }

  // The caller waits for workers that are in the job. Where all have been there, and none is recalled, so
  // that it might come again, the job may stay open.
  void wait_for_visitors(std::uint64_t job, int count) {
    bool closes = false;
    for (int id = 1; id < count; ++id) {
      const std::atomic<std::uint64_t>& visit = seat(id).place.visit;
      phases_.await([&] { return visit.load(std::memory_order_acquire) != visiting(job); });
      closes = closes || visit.load(std::memory_order_acquire) != has_left(job);
    }
    if (!closes && !job_.recalls.load(std::memory_order_relaxed)) return;
    job_.open.store(0, std::memory_order_seq_cst);
    for (int id = 1; id < count; ++id) {
      const std::atomic<std::uint64_t>& visit = seat(id).place.visit;
      phases_.await([&] { return visit.load(std::memory_order_seq_cst) != visiting(job); });
    }
  }

  void take_part_in(std::uint64_t job, int id, Seat& seat) {
    seat.place.visit.store(visiting(job), std::memory_order_seq_cst);
    // The caller closes the job before it looks whether somebody is in it.
    if (job_.open.load(std::memory_order_seq_cst) == job) {
      if (const int core = current_core(); core == job_.core) seat.placement.leave(core);
      call_next(id, count_of(job));
      work_on_job(id);
    }
    seat.place.visit.store(has_left(job), std::memory_order_release);
    seat.placement.settle();
  }

  static int count_of(std::uint64_t job) { return static_cast<int>(job & ((1 << id_bits) - 1)); }

  void work(int id, Seat* seat) {
    Clock::time_point idle_since = Clock::now();
    bool patient = false;  // the last job came soon after the one before
    std::uint64_t last = 0;
    std::uint32_t heard = 0;
    seat->placement.begin();
    seat->awake.store(true, std::memory_order_relaxed);
    for (;;) {
      std::uint64_t job = 0;
      // A job that it has left is taken up again only when it is recalled.
      const auto wanted = [&] {
        job = job_.open.load(std::memory_order_seq_cst);
        return id < count_of(job) && (job != last || seat->recalled.load(std::memory_order_relaxed) == job);
      };
      bool found = false;
      constexpr int spins = 2000;
      for (int i = 0; i < spins && !(found = wanted()); ++i) pause_briefly();
      const bool at_once = found;
      for (Clock::time_point now = Clock::now(); !found && patient && now - idle_since < soon;) {
        const Clock::time_point before = now;
        sched_yield();
        now = Clock::now();
        patient = now - before < others;
        found = wanted();
      }
      if (!found) {
        // The caller opens the job before it looks who is awake.
        seat->awake.store(false, std::memory_order_seq_cst);
        if (!wanted()) seat->calls.wait(heard, std::memory_order_acquire);
        seat->awake.store(true, std::memory_order_relaxed);
        seat->placement.settle();
        found = wanted();
      }
      heard = seat->calls.load(std::memory_order_relaxed);
      patient = found && (at_once || Clock::now() - idle_since < soon);
      if (!found) continue;
      if (job == last) seat->recalled.store(0, std::memory_order_relaxed);
      last = job;
      take_part_in(job, id, *seat);
      idle_since = Clock::now();
    }
  }

  std::atomic<bool> busy_{false};
  // One cache line, which a worker reads when it joins.
  struct alignas(128) {
    std::atomic<std::uint64_t> open{0};  // number and count of threads of the job that may be joined, or 0
    Function function = nullptr;
    const void* context = nullptr;
    std::uint64_t first_phase = 0;
    Interruptible* interruptible = nullptr;
    int core = -1;                     // of the caller
    std::atomic<bool> recalls{false};  // A worker that has left may come again.
  } job_;
  alignas(128) Phases phases_{*this};
  const OpenMP* openmp_ = nullptr;  // for this job
  std::vector<std::unique_ptr<Seat>> seats_;
  std::uint64_t jobs_ = 0;
  Clock::time_point last_end_{};
  Clock::time_point last_call_{};
  Clock::time_point last_loop_{};
  Clock::time_point next_loop_{};    // none before
  Clock::time_point alone_until_{};  // for calls after a pause
};

// Never destroyed: its workers sleep until the process ends. After a fork the child has no workers, so it
// forgets the parent's team and makes its own when it first needs one.
std::atomic<Team*> current_team{nullptr};

Team& team() {
  static const int registered = pthread_atfork(nullptr, nullptr, [] { current_team.store(nullptr); });
  static_cast<void>(registered);
  Team* existing = current_team.load(std::memory_order_acquire);
  if (existing != nullptr) return *existing;
  auto fresh = std::make_unique<Team>();
  if (current_team.compare_exchange_strong(existing, fresh.get(), std::memory_order_acq_rel)) {
    return *fresh.release();
  }
  return *existing;
}

std::atomic<int> thread_limit{0};
thread_local bool last_on_openmp = false;

}  // namespace

TeamLease::TeamLease(const Job& job) {
  if (job.threads <= 1) return;
  last_on_openmp = false;
  Team& shared = team();
  if (!shared.try_acquire()) return;
  team_ = &shared;
  count_ = shared.worth_using(shared.find_threads(job.threads, job.length), job.length);
  last_on_openmp = count_ > 1 && shared.on_openmp();
}

TeamLease::~TeamLease() {
  if (team_ == nullptr) return;
  Team& shared = *static_cast<Team*>(team_);
  shared.end();
  shared.release();
}

void TeamLease::run_erased(Function function, const void* context, bool interruptible) {
  Interruptible* scope = interruptible ? Interruptible::current() : nullptr;
  if (count_ > 1) {
    static_cast<Team*>(team_)->run(count_, function, context, scope);
  } else {
    Worker alone(scope);
    function(context, alone);
  }
}

bool last_job_on_openmp() { return last_on_openmp; }

int num_threads() {
  const int limit = thread_limit.load(std::memory_order_relaxed);
  return limit > 0 ? limit : default_threads().threads;
}

void set_num_threads(int count) { thread_limit.store(count, std::memory_order_relaxed); }

}  // namespace fusedlstm
