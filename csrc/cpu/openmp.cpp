#include "openmp.h"

#include <dlfcn.h>
#include <pthread.h>
#include <strings.h>

#include <atomic>
#include <chrono>
#include <cstdlib>

#include "pause.h"

namespace fusedlstm {
namespace {

std::atomic<const OpenMP*> joined{nullptr};

// Looks in the library and in those it was linked with.
template <class Function>
bool find(void* library, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(dlsym(library, name));
  return function != nullptr;
}

bool is(const char* variable, const char* value) {
  const char* text = std::getenv(variable);
  return text != nullptr && strcasecmp(text, value) == 0;
}

bool told_not_to_spin() {
  return is("OMP_WAIT_POLICY", "passive") || is("GOMP_SPINCOUNT", "0") || is("KMP_BLOCKTIME", "0");
}

}  // namespace

bool join_openmp(const std::string& library) {
  if (joined_openmp() != nullptr) return true;
  if (told_not_to_spin()) return false;
  // RTLD_NOLOAD: only what the process has loaded can have threads that spin. The handle is kept, and with it
  // the library.
  void* handle = dlopen(library.c_str(), RTLD_LAZY | RTLD_NOLOAD);
  if (handle == nullptr) return false;
  OpenMP found{};
  if (!find(handle, "GOMP_parallel", found.parallel) ||
      !find(handle, "omp_get_thread_num", found.thread_num) ||
      !find(handle, "omp_get_max_threads", found.max_threads) ||
      !find(handle, "omp_get_thread_limit", found.thread_limit) ||
      !find(handle, "omp_in_parallel", found.in_parallel) ||
      !find(handle, "omp_get_dynamic", found.dynamic)) {
    dlclose(handle);
    return false;
  }
  static const int registered = pthread_atfork(nullptr, nullptr, &leave_openmp);
  static_cast<void>(registered);
  // Never freed: when it is left, a job may still be running on it.
  joined.store(new OpenMP(found), std::memory_order_release);
  return true;
}

void leave_openmp() { joined.store(nullptr, std::memory_order_release); }

const OpenMP* joined_openmp() { return joined.load(std::memory_order_acquire); }

void OpenMPThreads::expect(int count) {
  if (threads_.size() < static_cast<std::size_t>(count)) threads_.resize(static_cast<std::size_t>(count));
}

// A thread that has a core uses up processor time between two looks at its clock; one that sleeps or waits
// for a core does not.
#if defined(__linux__)
void OpenMPThreads::note(int id) {
  Thread& thread = threads_[static_cast<std::size_t>(id)];
  thread.known = pthread_getcpuclockid(pthread_self(), &thread.processor_time) == 0;
}

bool OpenMPThreads::have_cores(int count) const {
  using Clock = std::chrono::steady_clock;
  constexpr Clock::duration long_enough = std::chrono::microseconds(2);
  const auto nanoseconds = [](const Thread& thread) -> long long {
    timespec time{};
    if (clock_gettime(thread.processor_time, &time) != 0) return -1;  // It has ended.
    return time.tv_sec * 1'000'000'000LL + time.tv_nsec;
  };
  const int known = static_cast<int>(threads_.size());
  for (int id = 1; id < count && id < known; ++id) {
    const Thread& thread = threads_[static_cast<std::size_t>(id)];
    if (!thread.known) continue;
    const long long before = nanoseconds(thread);
    if (before < 0) return false;
    const Clock::time_point start = Clock::now();
    while (Clock::now() - start < long_enough) pause_briefly();
    if (nanoseconds(thread) <= before) return false;
  }
  return true;
}
#else
void OpenMPThreads::note(int) {}
bool OpenMPThreads::have_cores(int) const { return true; }
#endif

}  // namespace fusedlstm
