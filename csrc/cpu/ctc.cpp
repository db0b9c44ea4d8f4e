#include "ctc.h"

#include <algorithm>
#include <atomic>
#include <new>
#include <numeric>

#include "buffer.h"
#include "parallel.h"

namespace fusedlstm {

template <class T>
KernelRun run_ctc(const CtcProblem<T>& problem, Index batch) {
  const KernelSet& set = kernels();
  const Kernels<T>& isa = set.of<T>();
  const auto steps = [&](Index b) { return problem.logit_lengths[b]; };
  const Buffer<Index> order(batch);
  Index* rows = order.data();
  std::iota(rows, rows + batch, Index{0});
  std::stable_sort(rows, rows + batch, [&](Index a, Index b) { return steps(a) > steps(b); });

  CtcScratch scratch{0, 0, problem.dlogits != nullptr, isa.width};
  double elements = 0.0;
  for (Index b = 0; b < batch; ++b) {
    const Index labels = problem.label_lengths[b];
    scratch.steps = std::max(scratch.steps, steps(b));
    scratch.labels = std::max(scratch.labels, labels);
    // A state costs about as much as some of softmax's terms.
    elements += static_cast<double>(steps(b)) * static_cast<double>(problem.classes + 8 * labels + 8);
  }
  const double grains = std::min(elements / elementwise_grain, static_cast<double>(batch));
  TeamLease team({.threads = static_cast<int>(std::clamp(grains, 1.0, static_cast<double>(num_threads())))});
  // Every thread's begins at a whole cache line.
  const CheckedSize each = scratch.size() + 64;
  const CheckedSize all = each * Index{team.count()};
  if (!all.fits()) throw std::bad_alloc();
  const Index stride = each.value() / 64 * 64;
  const Buffer<T> memory(all.value());
  // Rows take time as they are long: a thread takes the longest that is left.
  std::atomic<Index> next{0};
  team.run([&](Worker& worker) {
    const auto work = [&](int) {
      Worker alone = Worker::alone(worker);
      for (Index i = next++; i < batch && !alone.stopped(0); i = next++) {
        isa.ctc(problem, rows[i], memory.data() + alone.id() * stride, alone);
      }
    };
    worker.phase(team.count(), work, true);
  });
  return {"ctc_loss", set.name, sizeof(T) == sizeof(double), team.count(), false};
}

template KernelRun run_ctc(const CtcProblem<float>&, Index);
template KernelRun run_ctc(const CtcProblem<double>&, Index);

}  // namespace fusedlstm
