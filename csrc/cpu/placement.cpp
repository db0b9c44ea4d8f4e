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
  if (thread == 0 || core < 0 || barred_.load(std::memory_order_relaxed)) return;
  cpu_set_t* usual = Cores::set(cores_->usual);
  cpu_set_t* others = Cores::set(cores_->others);
  if (sched_getaffinity(thread, Cores::size, usual) != 0) return;
  CPU_ZERO_S(Cores::size, others);
  CPU_OR_S(Cores::size, others, others, usual);
  CPU_CLR_S(static_cast<std::size_t>(core), Cores::size, others);
  // An empty set is refused.
  if (sched_setaffinity(thread, Cores::size, others) == 0) barred_.store(true, std::memory_order_release);
}

void Placement::settle() {
  if (!barred_.load(std::memory_order_acquire)) return;
  sched_setaffinity(0, Cores::size, Cores::set(cores_->usual));
  barred_.store(false, std::memory_order_release);
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
