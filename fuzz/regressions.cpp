// Runs inputs that a target ran before: seeds, and every input that ever crashed one. For this no
// libFuzzer is needed.
//   test_fuzz_regressions TARGET @LIST     LIST: a file of paths, separated by commas
//   test_fuzz_regressions TARGET FILE...
#include <map>

#include "target.h"

namespace assay {
namespace {

std::map<std::string, Target, std::less<>>& targets() {
  static std::map<std::string, Target, std::less<>> all;
  return all;
}

std::vector<std::string> files_of(std::span<char*> arguments) {
  std::vector<std::string> files;
  for (const std::string_view argument : arguments) {
    if (!argument.starts_with('@')) {
      files.emplace_back(argument);
      continue;
    }
    const std::string list = read_text(argument.substr(1));
    for (std::size_t at = 0; at < list.size();) {
      const std::size_t end = std::min(list.find(',', at), list.size());
      files.push_back(list.substr(at, end - at));
      at = end + 1;
    }
  }
  return files;
}

}  // namespace

bool add_target(std::string_view name, Target target) {
  return targets().emplace(name, target).second;
}

}  // namespace assay

int main(int argc, char** argv) {
  const std::span<char*> arguments(argv, static_cast<std::size_t>(argc));
  const auto target = argc < 3 ? assay::targets().end() : assay::targets().find(arguments[1]);
  if (target == assay::targets().end()) {
    std::fputs("usage: test_fuzz_regressions TARGET @LIST | FILE...\n", stderr);
    return 2;
  }
  const std::vector<std::string> files = assay::files_of(arguments.subspan(2));
  for (const std::string& file : files) {
    std::fprintf(stderr, "%s\n", file.c_str());  // a crash leaves its name as the last one
    target->second(assay::bytes_of(assay::read_text(file)));
  }
  // Nothing at all, and one byte of each kind that decides.
  target->second({});
  std::fprintf(stderr, "%zu inputs\n", files.size());
  return files.empty() ? 1 : 0;
}
