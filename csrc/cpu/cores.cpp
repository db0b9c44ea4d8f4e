#include "cores.h"

#include <pthread.h>
#if defined(__linux__)
  #include <sched.h>
  #include <unistd.h>
#endif

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>
#include <thread>
#include <vector>

#include "team.h"

namespace fusedlstm {
namespace {

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// A number that is all of the text.
std::optional<double> number(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0') return std::nullopt;
  return value;
}

std::optional<double> ratio(const std::string& quota, const std::string& period) {
  const auto time = number(quota);
  const auto each = number(period);
  if (!time || !each || *time <= 0 || *each <= 0) return std::nullopt;  // -1 and "max" are no limit.
  return *time / *each;
}

// The limit of one group's folder. Version 2 has "quota period" in one file, version 1 has two files.
std::optional<double> quota_of(const std::string& folder, bool second) {
  if (!second)
    return ratio(first_line(folder + "/cpu.cfs_quota_us"), first_line(folder + "/cpu.cfs_period_us"));
  const auto parts = split(first_line(folder + "/cpu.max"), ' ');
  return parts.size() == 2 ? ratio(parts[0], parts[1]) : std::nullopt;
}

// Blanks and backslashes in a name of mountinfo are octal: \040.
std::string unescaped(const std::string& text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      plain += static_cast<char>(std::strtol(text.substr(i + 1, 3).c_str(), nullptr, 8));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

bool has_cpu(const std::string& names) {
  const auto parts = split(names, ',');
  return std::find(parts.begin(), parts.end(), "cpu") != parts.end();
}

// A place to read a hierarchy of groups: its group `root` is mounted at `folder`.
struct Mount {
  bool second;
  std::string root;
  std::string folder;
};

std::vector<Mount> cgroup_mounts(const std::string& root) {
  std::vector<Mount> mounts;
  std::ifstream file(root + "/proc/self/mountinfo");
  // Number, parent, device, root, folder, options, optional fields, "-", type, source, the type's options.
  for (std::string line; std::getline(file, line);) {
    const auto fields = split(line, ' ');
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (fields.size() < 5 || fields.end() - dash < 4) continue;
    const bool second = dash[1] == "cgroup2";
    if (!second && (dash[1] != "cgroup" || !has_cpu(dash[3]))) continue;
    mounts.push_back({second, unescaped(fields[3]), root + unescaped(fields[4])});
  }
  return mounts;
}

// The process's group below the mounted one, as "" or "/a/b". A group that lies elsewhere, as those outside
// of a namespace do ("/../x"), can't be seen: the mounted one then stands for it.
std::string below(const std::string& group, const std::string& mounted) {
  const std::string start = mounted == "/" ? "" : mounted;
  if (group.compare(0, start.size(), start) != 0) return "";
  const std::string rest = group.substr(start.size());
  if (rest.empty() || rest == "/" || rest[0] != '/' || rest.find("/..") != std::string::npos) return "";
  return rest;
}

#if defined(__linux__)
// Cores in the calling thread's mask, or 0. Machines with more than 1024 need larger sets than cpu_set_t.
int cores_in_mask() {
  for (int most = CPU_SETSIZE; most <= (1 << 20); most *= 2) {
    cpu_set_t* set = CPU_ALLOC(most);
    if (set == nullptr) return 0;
    const std::size_t size = CPU_ALLOC_SIZE(most);
    CPU_ZERO_S(size, set);
    const bool read = sched_getaffinity(0, size, set) == 0;
    const int error = errno;
    const int count = read ? CPU_COUNT_S(size, set) : 0;
    CPU_FREE(set);
    if (read || error != EINVAL) return count;
  }
  return 0;
}

std::string text_of(double value) {
  std::ostringstream text;
  text << value;
  return text.str();
}
#endif

std::atomic<int> threads_of_environment{0};

ThreadChoice choose() {
  if (const int count = threads_of_environment.load(); count > 0) return {count, "FUSEDLSTM_NUM_THREADS"};
  if (const char* text = std::getenv("OMP_NUM_THREADS"); text != nullptr) {
    if (const auto count = openmp_threads(text)) return {*count, "OMP_NUM_THREADS"};
  }
  int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  std::string why = cores == 1 ? "the only core" : "all " + std::to_string(cores) + " cores";
#if defined(__linux__)
  // hardware_concurrency() counts the cores of the mask with some C libraries, those of the machine with
  // others.
  const int in_machine = std::max(cores, static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)));
  if (const int in_mask = cores_in_mask(); in_mask > 0 && in_mask < in_machine) {
    cores = in_mask;
    why = "affinity mask: " + std::to_string(in_mask) + " of " + std::to_string(in_machine) + " cores";
  }
  if (const auto quota = cgroup_quota(""); quota && std::ceil(*quota) < cores) {
    cores = static_cast<int>(std::ceil(*quota));
    why = "cgroup quota " + text_of(*quota);
  }
#endif
  return {std::min(cores, max_threads), why};
}

// Never freed: a thread may be reading it.
std::atomic<const ThreadChoice*> chosen{nullptr};

}  // namespace

const ThreadChoice& default_threads() {
  if (const ThreadChoice* known = chosen.load(std::memory_order_acquire)) return *known;
  static const int registered = pthread_atfork(nullptr, nullptr, &forget_default_threads);
  static_cast<void>(registered);
  auto fresh = std::make_unique<const ThreadChoice>(choose());
  const ThreadChoice* known = nullptr;
  if (chosen.compare_exchange_strong(known, fresh.get(), std::memory_order_acq_rel)) return *fresh.release();
  return *known;
}

void forget_default_threads() { chosen.store(nullptr, std::memory_order_release); }

void set_threads_of_environment(int count) { threads_of_environment.store(count); }

std::optional<int> openmp_threads(const std::string& text) {
  std::optional<int> first;
  const char* place = text.c_str();
  while (true) {
    char* end = nullptr;
    errno = 0;
    const long value = std::strtol(place, &end, 10);
    if (end == place || errno != 0 || value < 1) return std::nullopt;
    if (!first) first = static_cast<int>(std::min<long>(value, max_threads));
    const auto blank = [](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
    while (blank(*end)) ++end;
    if (*end == '\0') return first;
    if (*end != ',') return std::nullopt;
    place = end + 1;
  }
}

std::optional<double> cgroup_quota(const std::string& root) {
  std::optional<double> least;
  const std::vector<Mount> mounts = cgroup_mounts(root);
  std::ifstream file(root + "/proc/self/cgroup");
  // "number:controllers:group"; version 2 has no controllers here. A group may have colons in its name.
  for (std::string line; std::getline(file, line);) {
    const std::size_t second_colon = line.find(':', line.find(':') + 1);
    if (second_colon == std::string::npos) continue;
    const std::string names = line.substr(line.find(':') + 1, second_colon - line.find(':') - 1);
    for (const Mount& mount : mounts) {
      if (mount.second ? !names.empty() : !has_cpu(names)) continue;
      std::string place = below(line.substr(second_colon + 1), mount.root);
      // Every group on the way up may set a limit of its own.
      while (true) {
        if (const auto quota = quota_of(mount.folder + place, mount.second)) {
          least = least ? std::min(*least, *quota) : *quota;
        }
        if (place.empty()) break;
        place.resize(place.rfind('/'));
      }
    }
  }
  return least;
}

}  // namespace fusedlstm
