#include "base/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace assay {

std::string bytes_text(std::uint64_t bytes) {
  static constexpr std::array<const char*, 4> kUnits = {"kB", "MB", "GB", "TB"};
  if (bytes < 1000) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes) / 1000;
  std::size_t unit = 0;
  for (; value >= 999.95 && unit + 1 < kUnits.size(); value /= 1000) ++unit;
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string shown(std::string_view text, std::size_t most) {
  std::string result(text.substr(0, most));
  if (text.size() > most) {
    std::size_t end = most - 3;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
    result.resize(end);
    result += "...";
  }
  const auto control = [](char c) { return static_cast<unsigned char>(c) < 32 || c == 127; };
  std::ranges::replace_if(result, control, '?');
  return result;
}

}  // namespace assay
