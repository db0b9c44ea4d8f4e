// How many threads a call may use where nobody says a number, and why.
#pragma once

#include <optional>
#include <string>

namespace fusedlstm {

struct ThreadChoice {
  int threads = 1;
  std::string why;
};

// The first of these that says something: FUSEDLSTM_NUM_THREADS; OMP_NUM_THREADS; the cores in the calling
// thread's affinity mask, or fewer where the cgroups' quotas allow less time. Read when first asked, which is
// at import, and kept: later changes of masks and quotas are not followed, but a forked child reads them
// anew.
const ThreadChoice& default_threads();

// Lets default_threads() read everything again when it is next asked, in a process that was told to use fewer
// cores, or more.
void forget_default_threads();

// The number in FUSEDLSTM_NUM_THREADS, which the caller has checked.
void set_threads_of_environment(int count);

// The parts, for tests.

// The first number of a list like "4,2", as OpenMP reads OMP_NUM_THREADS: none where the text is not a list
// of positive numbers, which OpenMP ignores with a warning.
std::optional<int> openmp_threads(const std::string& text);

// Cores' worth of time that the process's cgroup and all those around it grant, the least of them; none
// without a limit. Files are looked for under `root`, which is empty but for tests.
std::optional<double> cgroup_quota(const std::string& root);

}  // namespace fusedlstm
