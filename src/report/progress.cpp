#include "report/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/text.h"

namespace assay {

namespace chrono = std::chrono;

ProgressBar::ProgressBar()
    : on_(isatty(STDERR_FILENO) != 0), start_(chrono::steady_clock::now()), last_(start_) {}

ProgressBar::~ProgressBar() {
  if (drawn_) std::fputs("\r\x1b[K", stderr);
}

void ProgressBar::update(std::string_view what, double fraction) {
  if (!on_) return;
  const auto now = chrono::steady_clock::now();
  if (now - last_ < chrono::milliseconds(100)) return;
  last_ = now;
  drawn_ = true;
  constexpr int kWidth = 30;
  const int filled = std::clamp(static_cast<int>(fraction * kWidth), 0, kWidth);
  const double seconds = chrono::duration<double>(now - start_).count();
  std::string bar;
  for (int i = 0; i < kWidth; ++i) bar += i < filled ? "█" : "░";
  std::string left;
  if (fraction > 0.02 && seconds > 1) {
    left = fmt::format("  {:.0f} s left", seconds / fraction * (1 - fraction));
  }
  // Not fmt::print, which throws when the terminal is gone.
  std::fputs(
      fmt::format("\r{} {:3.0f} %  {}{}\x1b[K", bar, fraction * 100, visible(what), left).c_str(),
      stderr);
  std::fflush(stderr);
}

}  // namespace assay
