#include "base/nearest_name.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <vector>

namespace assay {
namespace {

constexpr std::size_t kLongest = 100;

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

// How many characters must be changed, inserted, dropped or exchanged with their neighbours.
std::size_t typing_errors(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t changed = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, changed});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
    std::swap(before, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

}  // namespace

std::string nearest_name(std::string_view given, std::span<const std::string> known) {
  if (given.empty() || given.size() > kLongest) return {};
  const std::string typed = lower(given);
  // One error in three characters; "ab" for "xy" is not a misspelling.
  std::size_t least = std::max<std::size_t>(1, given.size() / 3) + 1;
  const std::string* nearest = nullptr;
  for (const std::string& name : known) {
    if (name.size() > kLongest) continue;
    const std::size_t errors = typing_errors(typed, lower(name));
    if (errors >= least || errors >= name.size()) continue;
    least = errors;
    nearest = &name;
  }
  if (nearest == nullptr && given.size() > 2) {
    const auto begins = [&](const std::string& name) { return lower(name).starts_with(typed); };
    const auto found = std::ranges::find_if(known, begins);
    if (found != known.end()) nearest = &*found;
  }
  return nearest == nullptr ? std::string() : *nearest;
}

std::string did_you_mean(std::string_view given, std::span<const std::string> known) {
  const std::string name = nearest_name(given, known);
  return name.empty() ? name : fmt::format("; did you mean '{}'?", name);
}

}  // namespace assay
