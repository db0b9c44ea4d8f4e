#include "placement.h"

#if defined(__linux__)
  #include <sched.h>
  #include <sys/syscall.h>
  #include <unistd.h>
#endif

namespace fusedlstm {

#if defined(__linux__)

// Room for more cores than any system has: a smaller set would be refused there.
struct Placement::Cores {
  static constexpr std::size_t most = 8192;
  static constexpr std::size_t size = most / 8;
  alignas(cpu_set_t) unsigned char usual[size];  // where the thread may run
  alignas(cpu_set_t) unsigned char others[size];

  static cpu_set_t* set(unsigned char (&bytes)[size]) { return reinterpret_cast<cpu_set_t*>(bytes); }
};

Placement::Placement() : cores_(std::make_unique<Cores>()) {}

int current_core() { return sched_getcpu(); }

void Placement::begin() { thread_.store(static_cast<int>(syscall(SYS_gettid)), std::memory_order_release); }

void Placement::bar(int core) {
  const int thread = thread_.load(std::memory_order_acquire);
  State expected = State::free;
  if (thread == 0 || core < 0 || !state_.compare_exchange_strong(expected, State::changing)) return;
  cpu_set_t* usual = Cores::set(cores_->usual);
  cpu_set_t* others = Cores::set(cores_->others);
  bool barred = false;
  if (sched_getaffinity(thread, Cores::size, usual) == 0) {
    CPU_ZERO_S(Cores::size, others);
    CPU_OR_S(Cores::size, others, others, usual);
    CPU_CLR_S(static_cast<std::size_t>(core), Cores::size, others);
    barred = sched_setaffinity(thread, Cores::size, others) == 0;  // An empty set is refused.
  }
  state_.store(barred ? State::barred : State::free, std::memory_order_release);
}

void Placement::settle() {
  State expected = State::barred;
  if (state_.load(std::memory_order_relaxed) != State::barred ||
      !state_.compare_exchange_strong(expected, State::changing)) {
    return;
  }
  sched_setaffinity(0, Cores::size, Cores::set(cores_->usual));
  state_.store(State::free, std::memory_order_release);
}

#else

struct Placement::Cores {};
Placement::Placement() = default;
int current_core() { return -1; }
void Placement::begin() {}
void Placement::bar(int) {}
void Placement::settle() {}

#endif

Placement::~Placement() = default;

}  // namespace fusedlstm
