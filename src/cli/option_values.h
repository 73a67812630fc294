// What an option takes. An option's type name says it: help and the man pages print it, and shell
// completion offers what it stands for.
//   FILE, DIR, PATH (a file or a directory)   N, TEXT, ID, GLOB, LIST
//   a|b|c    one of these words (take_one_of)
//   MODEL    a published model's name         MAP      an engine, or a file of rules
//   PROFILE  noise, table or a file           TAPS     globs over tap names
#pragma once

#include <CLI/App.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace assay {

inline constexpr const char* kTakesModel = "MODEL";
inline constexpr const char* kTakesMap = "MAP";
inline constexpr const char* kTakesProfile = "PROFILE";
inline constexpr const char* kTakesTaps = "TAPS";

// Lets the option take one of `words` only; returns the option.
CLI::Option* take_one_of(CLI::Option* option, std::vector<std::string> words);
// Lets the option take whole numbers from `low` to `high`; returns the option.
CLI::Option* take_number(CLI::Option* option, std::int64_t low = INT64_MIN,
                         std::int64_t high = INT64_MAX);

// A check for paths: an empty one, as an unset shell variable gives it, is refused.
std::string is_given(const std::string& path);

// What shell completion offers as an option's or argument's value.
struct Completion {
  std::vector<std::string> words;
  bool files = false;        // and directories
  bool directories = false;  // only
};
Completion completion_of(const CLI::Option& option);

// Whether the option takes no value.
bool is_switch(const CLI::Option& option);

// An option's or argument's type name: "FILE", "bf16|f32|f64"; empty for a switch.
std::string type_of(const CLI::Option& option);

}  // namespace assay
