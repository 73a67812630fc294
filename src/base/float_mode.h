// Sets IEEE's default floating-point mode in an entry point, and restores the caller's mode at the
// end (frameworks turn on flushing of subnormals, and so does -ffast-math). Threads that are
// started meanwhile inherit the default mode.
#pragma once

#include <cfenv>

namespace assay {

class DefaultFloatMode {
 public:
  DefaultFloatMode() {
    std::fegetenv(&before_);
    std::fesetenv(FE_DFL_ENV);  // also resets x86's SSE unit, including flushing
  }
  ~DefaultFloatMode() { std::fesetenv(&before_); }
  DefaultFloatMode(const DefaultFloatMode&) = delete;
  DefaultFloatMode& operator=(const DefaultFloatMode&) = delete;

 private:
  std::fenv_t before_;
};

}  // namespace assay
