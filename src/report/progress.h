// A progress bar on standard error, only when that is a terminal.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace assay {

class ProgressBar {
 public:
  ProgressBar();
  ~ProgressBar();  // clears the line
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // fraction: 0 to 1. Draws at most ten times a second.
  void update(std::string_view what, double fraction);

 private:
  bool on_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace assay
