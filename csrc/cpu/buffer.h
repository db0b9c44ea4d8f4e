// Aligned memory that is kept between calls: a training step asks for the same sizes again and again, and
// fresh pages from the system cost more than the arithmetic on them at small sizes. What is kept never makes
// a process larger than it was of late, beyond a few hundred megabytes.
#pragma once

#include <cstddef>
#include <new>
#include <utility>

#include "checked.h"

namespace fusedlstm {

// Throws std::bad_alloc. The contents are undefined.
void* take_memory(std::size_t bytes);
void give_memory(void* memory) noexcept;

// Memory for `count` elements. Throws std::bad_alloc for a number of bytes that 64 bits do not hold, too.
template <class T>
T* take_elements(Index count) {
  const CheckedSize bytes = CheckedSize(count) * Index{sizeof(T)};
  // The allocator adds a header and fills up to whole lines.
  if (!(bytes + 4096).fits()) throw std::bad_alloc();
  return static_cast<T*>(take_memory(static_cast<std::size_t>(bytes.value())));
}

template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(Index count) : data_(take_elements<T>(count)) {}
  Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    return *this;
  }
  ~Buffer() {
    if (data_ != nullptr) give_memory(data_);
  }

  // The same memory, owned as elements of another type.
  template <class U>
  Buffer<U> as() && {
    Buffer<U> other;
    other.data_ = reinterpret_cast<U*>(std::exchange(data_, nullptr));
    return other;
  }

  // The memory, for somebody who gives it back.
  T* release() { return std::exchange(data_, nullptr); }

  T* data() const { return data_; }
  explicit operator bool() const { return data_ != nullptr; }

 private:
  template <class U>
  friend class Buffer;

  T* data_ = nullptr;
};

}  // namespace fusedlstm
