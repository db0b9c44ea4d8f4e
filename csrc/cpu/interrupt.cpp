#include "interrupt.h"

namespace fusedlstm {
namespace {

using Clock = std::chrono::steady_clock;

constexpr Clock::duration interval = std::chrono::milliseconds(50);

thread_local Interruptible* innermost = nullptr;

}  // namespace

Interruptible::Interruptible(bool (*goes_on)(void*), void* context)
    : next_(Clock::now() + interval), goes_on_(goes_on), context_(context), outer_(innermost) {
  innermost = this;
}

Interruptible::~Interruptible() { innermost = outer_; }

Interruptible* Interruptible::current() { return innermost; }

bool Interruptible::look_at_clock() {
  operations_ = 0;
  const Clock::time_point now = Clock::now();
  if (now >= next_ && !stopped()) {
    if (!goes_on_(context_)) stopped_.store(true, std::memory_order_relaxed);
    next_ = Clock::now() + interval;
  }
  return stopped();
}

}  // namespace fusedlstm
