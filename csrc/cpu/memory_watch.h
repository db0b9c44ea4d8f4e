// The end of memory within the team's jobs, whose bodies may not throw.
#pragma once

#include <atomic>
#include <new>

namespace fusedlstm {

class MemoryWatch {
 public:
  // Any thread: calls body, which may throw std::bad_alloc or a vector's std::length_error.
  template <class Body>
  void run(const Body& body) noexcept {
    try {
      body();
    } catch (...) {
      ended_ = true;
    }
  }

  // The caller, after the job: throws std::bad_alloc if a body has thrown.
  void check() const {
    if (ended_) throw std::bad_alloc();
  }

 private:
  std::atomic<bool> ended_{false};
};

}  // namespace fusedlstm
