// Turns on the CPU's own flushing of subnormals around the kernels that need it, and nowhere else:
// the thread may belong to the caller, and softmax and elementwise operations must not flush.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <cstdint>
#endif

namespace assay {
namespace {

#if defined(__x86_64__)
class FlushMode {
 public:
  FlushMode() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040u); }  // FTZ, DAZ
  ~FlushMode() { _mm_setcsr(before_); }
  FlushMode(const FlushMode&) = delete;
  FlushMode& operator=(const FlushMode&) = delete;

 private:
  unsigned before_;
};
#elif defined(__aarch64__)
class FlushMode {
 public:
  FlushMode() : control_(control()), status_(status()) {
    set_control(control_ | std::uint64_t{1} << 24);  // FZ
    set_status(status_ & ~kUnderflow);
  }
  ~FlushMode() {
    set_control(control_);
    set_status(status_);
  }
  FlushMode(const FlushMode&) = delete;
  FlushMode& operator=(const FlushMode&) = delete;

  // Whether a result has been flushed. AArch64 decides that before rounding, the contract after
  // rounding. They certainly agree only if nothing was flushed.
  static bool has_flushed() { return (status() & kUnderflow) != 0; }

 private:
  static constexpr std::uint64_t kUnderflow = 1u << 3;  // FPSR.UFC
  static std::uint64_t control() {
    std::uint64_t value;
    asm volatile("mrs %0, fpcr" : "=r"(value));
    return value;
  }
  static void set_control(std::uint64_t value) { asm volatile("msr fpcr, %0" ::"r"(value)); }
  static std::uint64_t status() {
    std::uint64_t value;
    asm volatile("mrs %0, fpsr" : "=r"(value));
    return value;
  }
  static void set_status(std::uint64_t value) { asm volatile("msr fpsr, %0" ::"r"(value)); }

  std::uint64_t control_;
  std::uint64_t status_;
};
#endif

}  // namespace
}  // namespace assay
