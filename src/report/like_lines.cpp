#include "report/like_lines.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace assay {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The line without the numbers of layers.
std::string kind_of(std::string_view line) {
  constexpr std::string_view kLayer = "layer_";
  std::string kind;
  for (std::size_t i = 0; i < line.size();) {
    std::size_t end = i;
    while (end < line.size() && is_digit(line[end])) ++end;
    const bool in_path = i > 0 && line[i - 1] == '.' && end < line.size() && line[end] == '.';
    if (end > i && (in_path || line.substr(0, i).ends_with(kLayer))) {
      i = end;
      continue;
    }
    end = std::max(end, i + 1);
    kind += line.substr(i, end - i);
    i = end;
  }
  return kind;
}

}  // namespace

std::vector<std::string> one_of_each_kind(const std::vector<std::string>& lines) {
  struct Kind {
    std::string name;
    const std::string* first;
    std::size_t count;
  };
  std::vector<Kind> kinds;
  for (const std::string& line : lines) {
    std::string name = kind_of(line);
    const auto known = std::ranges::find(kinds, name, &Kind::name);
    if (known == kinds.end()) {
      kinds.push_back({std::move(name), &line, 1});
    } else {
      ++known->count;
    }
  }
  std::vector<std::string> shown;
  for (const Kind& kind : kinds) {
    shown.push_back(kind.count == 1
                        ? *kind.first
                        : fmt::format("{} (and {} like it)", *kind.first, kind.count - 1));
  }
  return shown;
}

}  // namespace assay
