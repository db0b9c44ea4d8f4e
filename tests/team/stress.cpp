// Random jobs on the thread team: every share of every phase has to be done once, after all of the phase
// before, whoever does it, while threads come late and leave. Prints how many shares were done, or what went
// wrong.
//
// Arguments: seconds, seed.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "../../csrc/cpu/interrupt.h"
#include "../../csrc/cpu/team.h"

namespace {

using Clock = std::chrono::steady_clock;

std::atomic<bool> goes_on{true};

[[noreturn]] void fail(const char* what, int phase, int share) {
  std::printf("phase %d, share %d: %s\n", phase, share, what);
  std::exit(1);
}

// What a share leaves behind is not atomic: a thread sanitizer sees where a phase begins too early.
struct Job {
  int shares;
  int phases;
  std::vector<int> done;             // by phase and share
  std::vector<std::atomic<int>> of;  // threads in a share at once

  Job(int share_count, int phase_count)
      : shares(share_count),
        phases(phase_count),
        done(static_cast<std::size_t>(share_count * phase_count)),
        of(static_cast<std::size_t>(share_count)) {}

  int& at(int phase, int share) { return done[static_cast<std::size_t>(phase * shares + share)]; }

  void work(int phase, int share, unsigned pace) {
    if (of[static_cast<std::size_t>(share)].fetch_add(1) != 0) fail("two threads in one share", phase, share);
    for (int other = 0; phase > 0 && other < shares; ++other) {
      if (at(phase - 1, other) != 1) fail("the phase before is not done", phase, share);
    }
    if (++at(phase, share) != 1) fail("done twice", phase, share);
    if (pace % 64 == 0) std::this_thread::sleep_for(std::chrono::microseconds(pace % 1024));
    of[static_cast<std::size_t>(share)].fetch_sub(1);
  }
};

// Returns the shares done.
long run_job(std::mt19937& random, bool interruptible) {
  const int threads = 1 + static_cast<int>(random() % 5);
  const auto length = static_cast<fusedlstm::Length>(random() % 3);
  fusedlstm::TeamLease team({.threads = threads, .length = length});
  Job job(team.count(), 1 + static_cast<int>(random() % 60));
  const unsigned seed = static_cast<unsigned>(random());
  const auto scope = interruptible ? std::make_unique<fusedlstm::Interruptible>(
                                         [](void*) { return goes_on.load(); }, nullptr)
                                   : nullptr;
  std::atomic<bool> left{false};
  team.run([&](fusedlstm::Worker& worker) {
    for (int phase = 0; phase < job.phases; ++phase) {
      // More operations than the clock is asked for.
      if (worker.stopped(5'000'000)) left = true;
      const auto work = [&](int share) {
        job.work(phase, share, (seed ^ static_cast<unsigned>(phase * 31 + share)) * 2654435761u >> 8);
      };
      if (!worker.phase(job.shares, work)) return;
    }
  });
  const bool stopped = scope != nullptr && scope->stopped();
  if (stopped && !left) fail("stopped, and nobody was told", 0, 0);
  for (int phase = 0; !stopped && phase < job.phases; ++phase) {
    for (int share = 0; share < job.shares; ++share) {
      if (job.at(phase, share) != 1) fail("not done", phase, share);
    }
  }
  return long{job.shares} * job.phases;
}

}  // namespace

int main(int count, char** arguments) {
  const double seconds = count > 1 ? std::atof(arguments[1]) : 1.0;
  std::mt19937 random(count > 2 ? static_cast<unsigned>(std::atoi(arguments[2])) : 0u);
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  long total = 0;
  std::atomic<bool> finished{false};
  // A second thread that calls kernels finds the team lent, or gets it in between.
  std::thread rival([&] {
    std::mt19937 own(1);
    while (!finished.load()) run_job(own, false);
  });
  while (Clock::now() < end) {
    // Now and then a call that is interrupted at its first question.
    goes_on = random() % 16 != 0;
    total += run_job(random, true);
    if (random() % 8 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 3000));
  }
  finished = true;
  rival.join();
  std::printf("%ld shares\n", total);
}
