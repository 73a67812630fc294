#include "cli/option_values.h"

#include <fmt/format.h>

#include <CLI/Option.hpp>
#include <algorithm>
#include <charconv>

#include "base/nearest_name.h"
#include "base/text.h"
#include "candidate/name_map.h"
#include "model/synth.h"
#include "models/taps.h"

namespace assay {
namespace {

// "a, b or c"
std::string either(const std::vector<std::string>& words) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i != 0) text += i + 1 == words.size() ? " or " : ", ";
    text += words[i];
  }
  return text;
}

std::vector<std::string> tap_globs() {
  std::vector<std::string> globs = {"*"};
  for (int i = 0; i < kTapCount; ++i) {
    const auto tap = static_cast<Tap>(i);
    globs.push_back(fmt::format("{}{}", is_layer_tap(tap) ? "layer_*_" : "", tap_base_name(tap)));
  }
  return globs;
}

}  // namespace

CLI::Option* take_one_of(CLI::Option* option, std::vector<std::string> words) {
  option->type_name(fmt::format("{}", fmt::join(words, "|")));
  return option->check([words = std::move(words)](const std::string& given) {
    if (std::ranges::find(words, given) != words.end()) return std::string();
    return fmt::format("'{}'; expected {}{}", shown(given), either(words),
                       did_you_mean(given, words));
  });
}

std::string is_given(const std::string& path) {
  return path.empty() ? "'': no path; expected a file or a directory" : "";
}

CLI::Option* take_number(CLI::Option* option, std::int64_t low, std::int64_t high) {
  option->type_name("N");
  return option->check([low, high](const std::string& given) {
    std::int64_t value = 0;
    const char* last = given.data() + given.size();
    const auto [end, error] = std::from_chars(given.data(), last, value);
    if (error == std::errc() && end == last && low <= value && value <= high) return std::string();
    const std::string range = low == INT64_MIN    ? std::string()
                              : high == INT64_MAX ? fmt::format(", {} or more", low)
                                                  : fmt::format(" from {} to {}", low, high);
    return fmt::format("'{}'; expected a whole number{}", shown(given), range);
  });
}

bool is_switch(const CLI::Option& option) { return option.get_expected_max() == 0; }

std::string type_of(const CLI::Option& option) {
  return is_switch(option) ? std::string() : option.get_type_name();
}

Completion completion_of(const CLI::Option& option) {
  const std::string type = type_of(option);
  if (type == "FILE" || type == "PATH") return {{}, true, false};
  if (type == "DIR") return {{}, false, true};
  if (type == kTakesModel) return {known_models()};
  if (type == kTakesMap) return {NameMap::known(), true, false};
  if (type == kTakesProfile) return {{"noise", "table"}, true, false};
  if (type == kTakesTaps) return {tap_globs()};
  Completion completion;
  if (type.find('|') == type.npos) return completion;
  for (std::size_t begin = 0; begin <= type.size();) {
    const std::size_t end = std::min(type.find('|', begin), type.size());
    completion.words.push_back(type.substr(begin, end - begin));
    begin = end + 1;
  }
  return completion;
}

}  // namespace assay
