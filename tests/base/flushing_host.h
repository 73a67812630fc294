// The floating-point mode of a host that flushes subnormals and rounds down, as frameworks leave
// it.
#pragma once

#include <cfenv>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace assay {

class FlushingHost {
 public:
  FlushingHost() {
    std::fegetenv(&before_);
    std::fesetround(FE_DOWNWARD);
#if defined(__x86_64__)
    _mm_setcsr(_mm_getcsr() | 0x8040u);
    mode_ = _mm_getcsr();
#endif
  }
  ~FlushingHost() { std::fesetenv(&before_); }
  FlushingHost(const FlushingHost&) = delete;
  FlushingHost& operator=(const FlushingHost&) = delete;

  // Whether the mode is unchanged.
  bool holds() const {
#if defined(__x86_64__)
    if ((_mm_getcsr() & 0xFFC0u) != (mode_ & 0xFFC0u)) return false;
#endif
    return std::fegetround() == FE_DOWNWARD;
  }

 private:
  std::fenv_t before_;
  unsigned mode_ = 0;
};

}  // namespace assay
