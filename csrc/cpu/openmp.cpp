#include "openmp.h"

#include <dlfcn.h>
#include <pthread.h>
#include <strings.h>

#include <atomic>
#include <cstdlib>

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

}  // namespace fusedlstm
