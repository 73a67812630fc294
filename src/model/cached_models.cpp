#include "model/cached_models.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "assay/error.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "models--";

fs::path hub() {
  const auto variable = [](const char* name) -> std::string {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
  };
  const std::string home = variable("HOME");
  const auto expanded = [&](const std::string& path) -> fs::path {
    return path == "~" || path.starts_with("~/") ? home + path.substr(1) : path;
  };
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (const std::string path = variable(name); !path.empty()) return expanded(path);
  }
  if (const std::string path = variable("HF_HOME"); !path.empty()) return expanded(path) / "hub";
  const std::string cache = variable("XDG_CACHE_HOME");
  const fs::path all = cache.empty() ? fs::path(home) / ".cache" : expanded(cache);
  return all / "huggingface" / "hub";
}

// Of a repository's name, or of one of its parts. Nothing else becomes part of a path.
bool is_plain(std::string_view text) {
  return !text.empty() && text.find_first_not_of('.') != text.npos &&
         std::ranges::all_of(text, [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
         });
}

bool is_repository(std::string_view name) {
  const std::size_t slash = name.find('/');
  if (slash == name.npos) return is_plain(name);
  return is_plain(name.substr(0, slash)) && is_plain(name.substr(slash + 1));
}

// The directory of the revision that `main` is; none if it is not there in full.
std::optional<fs::path> snapshot_of(const fs::path& repository) {
  std::ifstream head(repository / "refs" / "main");
  std::string revision;
  if (!(head >> revision) || !is_plain(revision)) return std::nullopt;
  fs::path snapshot = repository / "snapshots" / revision;
  std::error_code ignored;
  if (!fs::exists(snapshot / "config.json", ignored)) return std::nullopt;
  return snapshot;
}

}  // namespace

std::optional<fs::path> cached_model(std::string_view name) {
  if (!is_repository(name)) return std::nullopt;
  const bool has_owner = name.find('/') != name.npos;
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator entry(hub(), error), end; !error && entry != end;
       entry.increment(error)) {
    // models--OWNER--NAME, or models--NAME; neither has "--" in it.
    std::string repository = entry->path().filename().string();
    if (!repository.starts_with(kPrefix)) continue;
    repository.erase(0, kPrefix.size());
    const std::size_t dashes = repository.find("--");
    if (dashes != repository.npos) repository.replace(dashes, 2, "/");
    const bool is_it =
        repository == name || (!has_owner && repository.ends_with(fmt::format("/{}", name)));
    if (!is_it) continue;
    if (auto snapshot = snapshot_of(entry->path())) found.push_back(std::move(*snapshot));
  }
  if (found.empty()) return std::nullopt;
  if (found.size() == 1) return found.front();
  std::ranges::sort(found);
  std::vector<std::string> paths;
  for (const fs::path& path : found) paths.push_back(path.string());
  throw input_error(name,
                    fmt::format("{} models in Hugging Face's cache have this name: {}",
                                found.size(), fmt::join(paths, ", ")),
                    "OWNER/NAME, or a path");
}

}  // namespace assay
