#include "image.h"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <stdexcept>

namespace simt {
namespace {

// Makes sure that the module has a segment of thread-local variables; volatile, so that it is really touched.
thread_local volatile char anchor = 0;

struct Search {
  std::uintptr_t inside;
  MemoryRange image;
  MemoryRange locals;
};

int look(dl_phdr_info* info, std::size_t, void* data) {
  auto& search = *static_cast<Search*>(data);
  std::uintptr_t begin = UINTPTR_MAX;
  std::uintptr_t end = 0;
  MemoryRange locals;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr) & header = info->dlpi_phdr[i];
    if (header.p_type == PT_LOAD) {
      begin = std::min<std::uintptr_t>(begin, info->dlpi_addr + header.p_vaddr);
      end = std::max<std::uintptr_t>(end, info->dlpi_addr + header.p_vaddr + header.p_memsz);
    } else if (header.p_type == PT_TLS) {
      locals = {reinterpret_cast<std::uintptr_t>(info->dlpi_tls_data), header.p_memsz};
    }
  }
  if (search.inside - begin >= end - begin) return 0;
  search.image = {begin, end - begin};
  search.locals = locals;
  return 1;
}

Search search() {
  anchor = 1;  // a module's segment exists from the first use on
  Search search{reinterpret_cast<std::uintptr_t>(&look), {}, {}};
  if (dl_iterate_phdr(&look, &search) == 0 || search.locals.begin == 0) {
    throw std::runtime_error("the simulator cannot find its own module in memory");
  }
  return search;
}

struct ClosePipe {
  void operator()(FILE* pipe) const { pclose(pipe); }
};

}  // namespace

std::string source_line(std::uintptr_t instruction) {
  Dl_info info;
  if (instruction == 0 || dladdr(reinterpret_cast<void*>(&look), &info) == 0) return "";
  const auto base = reinterpret_cast<std::uintptr_t>(info.dli_fbase);
  char command[4096];
  const int length = std::snprintf(command, sizeof command, "addr2line -s -i -e '%s' 0x%zx 2>/dev/null",
                                   info.dli_fname, static_cast<std::size_t>(instruction - 1 - base));
  if (length < 0 || static_cast<std::size_t>(length) >= sizeof command) return "";
  const std::unique_ptr<FILE, ClosePipe> pipe(popen(command, "r"));
  char line[512];
  std::string text;
  // The innermost place first; functions of the CUDA headers that were inlined are not what is looked for.
  while (pipe != nullptr && std::fgets(line, sizeof line, pipe.get()) != nullptr) {
    std::string place = line;
    place.erase(std::min(place.find_first_of(" \n"), place.size()));
    if (place.find(".cu") == std::string::npos) continue;
    text = ", at " + place;
    break;
  }
  return text;
}

MemoryRange module_image() { return search().image; }
MemoryRange thread_locals() { return search().locals; }

}  // namespace simt
