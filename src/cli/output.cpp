#include <fmt/format.h>
#include <unistd.h>

#include "base/atomic_file.h"
#include "base/text.h"
#include "cli/verbs.h"
#include "report/json_text.h"
#include "report/table.h"

namespace assay {

void print(std::string_view text) { fmt::print("{}", for_terminal(text, wants_color(stdout))); }

void print_text(std::string_view text) {
  const std::string safe = isatty(STDOUT_FILENO) != 0 ? for_terminal(text, false) : std::string();
  const std::string_view out = safe.empty() ? text : safe;
  std::fwrite(out.data(), 1, out.size(), stdout);
}

void print_error(std::string_view line) {
  // Not fmt::print: it throws when standard error takes no more.
  std::fputs((visible(line) + "\n").c_str(), stderr);
}

void print_json(const nlohmann::ordered_json& json) { fmt::print("{}\n", json_text(json, 2)); }

void write_text_file(const std::string& path, std::string_view text) {
  AtomicFile file(path);
  file.write(std::as_bytes(std::span(text)));
  file.commit();
}

}  // namespace assay
