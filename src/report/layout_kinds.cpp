#include "report/layout_kinds.h"

#include <cctype>
#include <map>
#include <set>

namespace assay {
namespace {

// The text with every shape and number replaced by the same mark.
std::string without_numbers(const std::string& text) {
  std::string kind;
  bool in_shape = false;
  for (const char c : text) {
    in_shape = (in_shape || c == '[') && c != ']';
    const bool part = in_shape || c == ']' || std::isdigit(static_cast<unsigned char>(c)) != 0;
    if (!part) {
      kind += c;
    } else if (!kind.ends_with('#')) {
      kind += '#';
    }
  }
  return kind;
}

}  // namespace

std::vector<LayoutKind> layout_kinds(const PromptResult& prompt) {
  std::vector<LayoutKind> kinds;
  std::map<std::string, std::size_t> known;
  std::set<std::string> texts;
  for (const TensorResult& t : prompt.tensors) {
    if (t.reading.empty()) continue;
    const auto [kind, is_new] = known.emplace(without_numbers(t.reading), kinds.size());
    if (is_new) kinds.push_back({t.reading});
    LayoutKind& found = kinds[kind->second];
    found.texts += texts.insert(t.reading).second ? 1 : 0;
    ++found.arrays;
  }
  return kinds;
}

}  // namespace assay
