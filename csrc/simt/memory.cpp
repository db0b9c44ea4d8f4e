#include "memory.h"

#include <sys/mman.h>

#include <cstring>
#include <new>
#include <stdexcept>

namespace simt {
namespace {

void* reserve(std::size_t bytes, int protection) {
  void* address = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return address == MAP_FAILED ? nullptr : address;
}

}  // namespace

DeviceMemory::DeviceMemory() {
  for (size_ = std::size_t{1} << 36; size_ >= std::size_t{1} << 28; size_ /= 4) {
    void* base = reserve(size_, PROT_NONE);
    if (base == nullptr) continue;
    void* owners = reserve(size_ / page * sizeof(*owners_), PROT_READ | PROT_WRITE);
    if (owners == nullptr) {
      munmap(base, size_);
      continue;
    }
    base_ = reinterpret_cast<std::uintptr_t>(base);
    owners_ = static_cast<std::uint32_t*>(owners);
    return;
  }
  throw std::bad_alloc();
}

DeviceMemory::~DeviceMemory() {
  munmap(owners_, size_ / page * sizeof(*owners_));
  munmap(reinterpret_cast<void*>(base_), size_);
}

void* DeviceMemory::allocate(std::size_t bytes, std::string name) {
  // A quarter again of unused pages, 16 at least, catches an index that is wrong by some rows.
  const std::size_t pages = (bytes + page - 1) / page;
  const std::size_t gap = pages / 8 + 8;  // before and after
  const std::size_t total = (pages + 2 * gap) * page;
  if (bytes > size_ || total > size_ - used_) throw std::bad_alloc();
  const std::uintptr_t begin = base_ + used_ + gap * page;
  void* address = reinterpret_cast<void*>(begin);
  if (pages > 0) {
    if (mprotect(address, pages * page, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
    std::memset(address, 0xff, bytes);
  }
  allocations_.push_back(std::make_unique<Allocation>(
      Allocation{begin, bytes, std::move(name), false, std::make_unique<Shadow>(bytes)}));
  const auto owner = static_cast<std::uint32_t>(allocations_.size());
  for (std::size_t i = 0; i < total / page; ++i) owners_[used_ / page + i] = owner;
  used_ += total;
  return address;
}

void DeviceMemory::free(void* address) {
  Allocation* allocation = find(reinterpret_cast<std::uintptr_t>(address));
  if (allocation == nullptr || allocation->freed) throw std::logic_error("no such array in device memory");
  allocation->freed = true;
  allocation->shadow.reset();
  if (allocation->bytes > 0) {
    mmap(address, (allocation->bytes + page - 1) / page * page, PROT_NONE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  }
}

}  // namespace simt
