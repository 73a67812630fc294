// The floating-point mode of an entry point: IEEE's own, whatever the caller has set (frameworks
// turn flushing of subnormals on, and so does -ffast-math), which it gets back. Threads that are
// started inside inherit it.
#pragma once

#include <cfenv>

namespace assay {

class DefaultFloatMode {
 public:
  DefaultFloatMode() {
    std::fegetenv(&before_);
    std::fesetenv(FE_DFL_ENV);  // of x86's SSE unit too, and flushing with it
  }
  ~DefaultFloatMode() { std::fesetenv(&before_); }
  DefaultFloatMode(const DefaultFloatMode&) = delete;
  DefaultFloatMode& operator=(const DefaultFloatMode&) = delete;

 private:
  std::fenv_t before_;
};

}  // namespace assay
