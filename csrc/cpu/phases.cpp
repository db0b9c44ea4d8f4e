#include "phases.h"

#include <algorithm>
#include <thread>

#include "interrupt.h"
#include "pause.h"

namespace fusedlstm {

bool Phases::Patience::lasts() {
  constexpr int spins_before_clock = 64;
  constexpr Clock::duration least = std::chrono::microseconds(50);
  constexpr Clock::duration most = std::chrono::milliseconds(1);
  pause_briefly();
  if (++spins_ % spins_before_clock != 0) return true;
  const Clock::time_point now = Clock::now();
  if (end_ == Clock::time_point{}) {
    const Clock::duration elapsed = now - began_;
    const Clock::duration usual =
        phases_ == 1 ? elapsed / 2 : 2 * elapsed / static_cast<std::int64_t>(phases_);
    end_ = now + std::clamp(usual, least, most);
  }
  return now < end_;
}

Phases::Place& Phases::place(int id) {
  while (static_cast<std::size_t>(id) >= places_.size()) places_.push_back(std::make_unique<Place>());
  return *places_[static_cast<std::size_t>(id)];
}

Worker Phases::begin(int shares, Interruptible* interruptible) {
  place(shares - 1);
  began_ = Clock::now();
  strays_ = 0;
  rested_ = {};
  Worker caller(this, 0, first_, interruptible);
  // The caller's from job to job, unless it was given back.
  Place& own = place(0);
  if (!own.taken.load(std::memory_order_relaxed)) own.taken.store(true, std::memory_order_relaxed);
  caller.owns_ = true;
  return caller;
}

void Phases::leave(Worker& worker) {
  if (worker.owns_) place(worker.id_).give_back();
}

void Phases::end(Worker& caller) {
  first_ = caller.done_;
  // An interrupted caller may have left first.
  const Interruptible* interruptible = caller.interruptible_;
  if (interruptible == nullptr || !interruptible->stopped()) return;
  for (const auto& each : places_) first_ = std::max(first_, each->done.load());
}

void Phases::rest() {
  const Clock::time_point start = Clock::now();
  std::this_thread::sleep_for(std::chrono::microseconds(50));
  rested_ += Clock::now() - start;  // later, where others had the core
}

bool Phases::claim(Place& place, std::uint64_t phases, Worker::Function work, const void* context,
                   int share) {
  if (place.has(phases) || !place.take()) return false;
  const bool due = !place.has(phases);
  if (due) {
    work(context, share);
    place.done.store(phases, std::memory_order_release);
  }
  place.give_back();
  return due;
}

bool Phases::run(Worker& worker, Worker::Function work, const void* context, int count, bool last) {
  const std::uint64_t phases = ++worker.done_;
  const std::unique_ptr<Place>* places = places_.data();
  const int own = worker.id_;
  bool complete = true;
  if (own < count) {
    Place& place = *places[own];
    if (!worker.owns_) worker.owns_ = place.take();
    if (!place.has(phases)) {
      complete = worker.owns_;  // or else somebody is doing it
      if (worker.owns_) {
        work(context, own);
        place.done.store(phases, std::memory_order_release);
      }
    }
  }
  for (int i = own < count ? 1 : 0, share = own; i < count; ++i) {
    if (++share >= count) share = 0;
    if (places[share]->has(phases)) continue;
    if (!claim(*places[share], phases, work, context, share)) {
      complete = complete && places[share]->has(phases);
    } else if (worker.is_caller_ && ++strays_ % 16 == 0) {
      // To look at a clock for each would show where shares take a microsecond.
      owners_.call(share);
    }
  }
  if (last && !worker.is_caller_) return false;
  return complete || wait(worker, work, context, count);
}

bool Phases::wait(Worker& worker, Worker::Function work, const void* context, int count) {
  const std::uint64_t phases = worker.done_;
  const std::unique_ptr<Place>* places = places_.data();
  int next = 0;  // Those before are done.
  const auto all_done = [&] {
    while (next < count && places[next]->has(phases)) ++next;
    return next == count;
  };
  // Their owners left after this thread had looked for such.
  const auto claim_any = [&] {
    bool any = false;
    for (int share = next; share < count; ++share) {
      any = claim(*places[share], phases, work, context, share) || any;
    }
    return any;
  };
  for (Patience patience(began_, phases - first_); !all_done();) {
    if (claim_any()) continue;
    if (worker.interruptible_ != nullptr && worker.interruptible_->stopped()) return false;
    if (patience.lasts()) continue;
    if (!worker.is_caller_) return false;
    // Others can then go on without the caller while it wakes.
    if (worker.owns_) {
      places[worker.id_]->give_back();
      worker.owns_ = false;
    }
    rest();
    if (worker.interruptible_ != nullptr) worker.interruptible_->look_at_clock();
  }
  return true;
}

bool Worker::run(Function work, const void* context, int count, bool last) {
  left_ = left_ || (interruptible_ != nullptr && interruptible_->stopped());
  if (left_) return false;
  if (phases_ != nullptr) {
    left_ = !phases_->run(*this, work, context, count, last);
  } else {
    for (int share = 0; share < count; ++share) work(context, share);
  }
  return !left_;
}

bool Worker::stopped(Index operations) {
  if (interruptible_ == nullptr) return false;
  return is_caller_ ? interruptible_->ask(operations) : interruptible_->stopped();
}

}  // namespace fusedlstm
