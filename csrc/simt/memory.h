// Simulated device memory. Arrays lie on pages of their own with unused pages between them, so that every
// address is known to be inside one, beyond its end, or of one that was freed: pages are not used again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "shadow.h"

namespace simt {

struct Allocation {
  std::uintptr_t begin;
  std::size_t bytes;
  std::string name;
  bool freed = false;
  std::unique_ptr<Shadow> shadow;
};

class DeviceMemory {
 public:
  DeviceMemory();
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  // As cudaMalloc: aligned to 256 bytes at least. Filled with ones, which are NaN in every format.
  void* allocate(std::size_t bytes, std::string name);
  void free(void* address);

  bool contains(std::uintptr_t address) const { return address - base_ < size_; }
  // The array whose pages, or unused pages around it, hold the address; null before the first one.
  Allocation* find(std::uintptr_t address) {
    const std::uint32_t owner = owners_[(address - base_) / page];
    return owner == 0 ? nullptr : allocations_[owner - 1].get();
  }

 private:
  static constexpr std::size_t page = 4096;

  std::uintptr_t base_ = 0;
  std::size_t size_ = 0;
  std::size_t used_ = page;
  std::uint32_t* owners_ = nullptr;  // per page: number of the allocation plus one
  std::vector<std::unique_ptr<Allocation>> allocations_;
};

}  // namespace simt
