#include "base/hash_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <fstream>
#include <optional>
#include <system_error>
#include <vector>

#include "assay/error.h"
#include "base/atomic_file.h"
#include "base/mapped_file.h"
#include "base/sha256.h"
#include "base/users_cache.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kHeader = "assay hashes 1";
constexpr std::size_t kMostEntries = 4096;
constexpr std::uintmax_t kMostBytes = std::uintmax_t{16} << 20;
// Two changes within the resolution of a file system's clock have the same time.
constexpr std::int64_t kSettled = 2'000'000'000;
constexpr std::size_t kHexDigits = 64;

fs::path users_memory() {
  const fs::path cache = users_cache();
  return cache.empty() ? fs::path() : cache / "hashes";
}

struct Known {
  std::string key;
  std::int64_t changed = 0;
};

// None for a file that cannot be examined, or whose name does not fit into a line.
std::optional<Known> known_by(const fs::path& file) {
  std::error_code error;
  const fs::path absolute = fs::weakly_canonical(file, error);
  const std::optional<FileState> s = error ? std::nullopt : state_of(absolute);
  const std::string name = absolute.string();
  if (!s || name.find('\n') != name.npos) return std::nullopt;
  return Known{
      fmt::format("{} {} {} {} {} {}", s->size, s->mtime, s->ctime, s->device, s->inode, name),
      std::max(s->mtime, s->ctime)};
}

bool is_sha256(std::string_view text) {
  return text.size() == kHexDigits && text.find_first_not_of("0123456789abcdef") == text.npos;
}

}  // namespace

HashMemory& HashMemory::of_user() {
  static HashMemory memory(users_memory());
  return memory;
}

HashMemory::HashMemory(fs::path memory, std::function<std::int64_t()> now)
    : memory_(std::move(memory)), now_(std::move(now)) {
  if (now_) return;
  now_ = [] {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
  };
}

// Parses lines of "sha256 time key"; nothing if any line is malformed.
HashMemory::Entries HashMemory::read() const {
  std::error_code ignored;
  if (memory_.empty() || fs::file_size(memory_, ignored) > kMostBytes || ignored) return {};
  std::ifstream file(memory_, std::ios::binary);
  std::string line;
  if (!std::getline(file, line) || line != kHeader) return {};
  Entries entries;
  while (std::getline(file, line)) {
    const std::string_view text = line;
    Entry entry{0, std::string(text.substr(0, kHexDigits))};
    if (!is_sha256(entry.sha256) || text.size() <= kHexDigits + 1 || text[kHexDigits] != ' ') {
      return {};
    }
    const char* end_of_line = text.data() + text.size();
    const auto [end, error] =
        std::from_chars(text.data() + kHexDigits + 1, end_of_line, entry.used);
    if (error != std::errc() || end == end_of_line || *end != ' ') return {};
    entries[std::string(end + 1, end_of_line)] = std::move(entry);
  }
  return entries;
}

void HashMemory::remember(const std::string& key, const std::string& sha256,
                          std::int64_t now) const {
  // Entries that another process has added meanwhile are kept.
  Entries entries = read();
  entries[key] = {now, sha256};
  while (entries.size() > kMostEntries) {
    entries.erase(
        std::ranges::min_element(entries, {}, [](const auto& entry) { return entry.second.used; }));
  }
  std::string text = fmt::format("{}\n", kHeader);
  for (const auto& [name, entry] : entries) {
    text += fmt::format("{} {} {}\n", entry.sha256, entry.used, name);
  }
  std::error_code ignored;
  fs::create_directories(memory_.parent_path(), ignored);
  try {
    AtomicFile file(memory_);
    file.write(std::as_bytes(std::span(text)));
    file.commit();
  } catch (const Error&) {
    // Without a memory, files are simply hashed again.
  }
}

std::string HashMemory::sha256(const fs::path& file, const std::function<std::string()>& compute) {
  const std::optional<Known> before = memory_.empty() ? std::nullopt : known_by(file);
  if (before && !passed_over_) {
    const std::lock_guard lock(mutex_);
    const Entries entries = read();
    if (const auto found = entries.find(before->key); found != entries.end()) {
      return found->second.sha256;
    }
  }
  std::string result = compute();
  const std::optional<Known> after = before ? known_by(file) : std::nullopt;
  const std::int64_t now = now_();
  if (after && after->key == before->key && after->changed + kSettled <= now) {
    const std::lock_guard lock(mutex_);
    remember(before->key, result, now);
  }
  return result;
}

std::string remembered_sha256(const fs::path& file) {
  return HashMemory::of_user().sha256(file, [&] { return sha256_file(file); });
}

}  // namespace assay
