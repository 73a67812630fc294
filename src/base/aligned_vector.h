// A vector for kernels: its elements begin at a cache line, and new ones are not zeroed.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <new>
#include <vector>

namespace assay {

template <class T>
struct AlignedAllocator {
  using value_type = T;
  static constexpr std::size_t kLine = 64;
  static constexpr std::size_t kHugePage = std::size_t{2} << 20;

  AlignedAllocator() = default;
  template <class U>
  explicit AlignedAllocator(const AlignedAllocator<U>&) {}

  T* allocate(std::size_t n) {
    const std::size_t bytes = n * sizeof(T);
    void* memory = ::operator new(bytes, alignment(bytes));
    // This is only advice to the kernel: fewer faults and TLB misses on large buffers.
    if (bytes >= 2 * kHugePage) ::madvise(memory, bytes, MADV_HUGEPAGE);
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, std::size_t n) { ::operator delete(memory, alignment(n * sizeof(T))); }
  // resize() leaves new elements uninitialised.
  template <class U>
  void construct(U*) {}
  template <class U, class Value>
  void construct(U* at, Value&& value) {
    *at = static_cast<Value&&>(value);
  }
  friend bool operator==(const AlignedAllocator&, const AlignedAllocator&) { return true; }

 private:
  static std::align_val_t alignment(std::size_t bytes) {
    return std::align_val_t{bytes >= 2 * kHugePage ? kHugePage : kLine};
  }
};

// T: an arithmetic type.
template <class T>
using AlignedVector = std::vector<T, AlignedAllocator<T>>;

}  // namespace assay
