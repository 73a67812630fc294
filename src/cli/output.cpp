#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>

#include "assay/error.h"
#include "base/atomic_file.h"
#include "base/text.h"
#include "cli/commands.h"
#include "report/json_text.h"
#include "report/table.h"

namespace assay {

void print(std::string_view text) { fmt::print("{}", for_terminal(text, wants_color(stdout))); }

void print_text(std::string_view text) {
  const std::string safe = isatty(STDOUT_FILENO) != 0 ? for_terminal(text, false) : std::string();
  const std::string_view out = safe.empty() ? text : safe;
  std::fwrite(out.data(), 1, out.size(), stdout);
}

void print_error(std::string_view kind, std::string_view line) {
  const bool terminal = isatty(STDERR_FILENO) != 0;
  const std::string text =
      fmt::format("assay: {} {}",
                  colored(fmt::format("{}:", kind), kind == "error" ? Color::kRed : Color::kYellow,
                          wants_color(stderr)),
                  visible(line));
  // Not fmt::print, which throws when standard error cannot be written to.
  std::fputs(((terminal ? wrapped(text, 2) : text) + "\n").c_str(), stderr);
}

void print_json(const nlohmann::ordered_json& json) { fmt::print("{}\n", json_text(json, 2)); }

void expect_own_outputs(const std::vector<std::pair<std::string_view, std::string>>& written,
                        const std::vector<std::string>& read) {
  const auto is_same = [](const std::string& a, const std::string& b) {
    std::error_code error;  // set when one of them does not exist
    return a == b || std::filesystem::equivalent(a, b, error);
  };
  for (std::size_t i = 0; i < written.size(); ++i) {
    const auto& [option, path] = written[i];
    if (path.empty()) continue;
    for (const std::string& input : read) {
      if (!is_same(path, input)) continue;
      throw usage_error(option, fmt::format("'{}', which is an input", path), "a different file");
    }
    for (std::size_t j = 0; j < i; ++j) {
      if (path != written[j].second) continue;
      throw usage_error(option, fmt::format("'{}', the same path as {}", path, written[j].first),
                        "a different file");
    }
  }
}

void expect_one_on_stdout(const std::vector<std::pair<std::string_view, std::string>>& written,
                          bool json) {
  std::string_view first = json ? "--json" : "";
  for (const auto& [option, path] : written) {
    if (path != "-") continue;
    if (!first.empty()) {
      throw usage_error(option, fmt::format("'-', standard output, where {} prints", first),
                        "a file");
    }
    first = option;
  }
}

void write_text_file(const std::string& path, std::string_view text) {
  if (path == "-") {
    fmt::print("{}", text);
    return;
  }
  AtomicFile file(path);
  file.write(std::as_bytes(std::span(text)));
  file.commit();
}

}  // namespace assay
