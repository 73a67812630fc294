#include "base/output_set.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <system_error>

#include "assay/error.h"
#include "base/directory.h"
#include "base/partial_paths.h"

namespace assay {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kStaging = ".partial-";

// Whether the name has the two numbers that the constructor uses. Anything else belongs to others.
bool is_staging(const fs::path& path) {
  const std::string name = path.filename().string();
  if (!name.starts_with(kStaging)) return false;
  const std::string rest = name.substr(kStaging.size());
  const std::size_t dash = rest.find('-');
  return dash != 0 && dash != std::string::npos && dash + 1 < rest.size() &&
         rest.find_first_not_of("0123456789-") == std::string::npos &&
         rest.find('-', dash + 1) == std::string::npos;
}

void sync_directory(const fs::path& directory) {
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

// The process in the name of a staging directory; none when there is no such directory.
std::string holder_of(const fs::path& directory) {
  std::error_code error;
  for (const fs::path& path : paths_in(directory, error)) {
    if (!is_staging(path)) continue;
    const std::string rest = path.filename().string().substr(kStaging.size());
    return fmt::format("process {}", std::strtol(rest.c_str(), nullptr, 10));
  }
  return "another process";
}

// Called only with the lock held: without it, they may belong to a running process.
void remove_what_killed_runs_left(const fs::path& directory) {
  std::error_code error;
  for (const fs::path& path : paths_in(directory, error)) {
    if (is_staging(path)) remove_tree(path.c_str());
  }
}

}  // namespace

OutputSet::OutputSet(fs::path directory, std::string marker)
    : directory_(std::move(directory)), marker_(std::move(marker)) {
  static std::atomic<unsigned> counter{0};
  if (directory_.empty()) throw usage_error("--out", "an empty path", "a directory");
  std::error_code error;
  fs::create_directories(directory_, error);
  if (error) throw system_error(directory_.string(), "cannot create directory", error.value());
  lock();
  try {
    if (lock_ >= 0) remove_what_killed_runs_left(directory_);
    staging_ = directory_ / fmt::format("{}{}-{}", kStaging, ::getpid(), counter.fetch_add(1));
    const PartialCreation creation;
    fs::create_directory(staging_, error);
    if (error) throw system_error(directory_.string(), "cannot write into it", error.value());
    slot_ = remember_partial(staging_);
  } catch (...) {
    if (lock_ >= 0) ::close(lock_);
    throw;
  }
}

OutputSet::~OutputSet() {
  remove_tree(staging_.c_str());
  forget_partial(slot_);
  if (lock_ >= 0) ::close(lock_);
}

void OutputSet::lock() {
  lock_ = ::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock_ < 0) throw system_error(directory_.string(), "cannot open", errno);
  if (::flock(lock_, LOCK_EX | LOCK_NB) == 0) return;
  // Any other failure means that the file system has no locks.
  const bool is_held = errno == EWOULDBLOCK;
  ::close(lock_);
  lock_ = -1;
  if (!is_held) return;
  throw Error(ErrorKind::kSystem, directory_.string(),
              fmt::format("{} is writing into it", holder_of(directory_)),
              "a directory of its own for each run");
}

void OutputSet::create_directory(std::string_view name) const {
  std::error_code error;
  const fs::path final_path = directory_ / name;
  const fs::file_status there = fs::status(final_path, error);
  if (fs::exists(there) && !fs::is_directory(there)) {
    throw system_error(final_path.string(), "cannot create directory", EEXIST);
  }
  const PartialCreation
      creation;  // otherwise this could recreate a staging directory that a handler removed
  fs::create_directories(staging_ / name, error);
  if (error) throw system_error(final_path.string(), "cannot create directory", error.value());
}

void OutputSet::publish(const std::vector<std::string>& stale) {
  std::error_code error;
  const auto remove = [&](const fs::path& file) {
    fs::remove(file, error);
    if (error) throw system_error(file.string(), "cannot remove", error.value());
  };
  // Everything that can fail without a change is done before the first change.
  std::vector<fs::path> names;
  std::vector<fs::path> directories = {""};
  for (std::size_t d = 0; d < directories.size(); ++d) {
    for (const fs::path& path : paths_in(staging_ / directories[d], error)) {
      const fs::path name = path.lexically_relative(staging_);
      if (fs::is_directory(path)) {
        directories.push_back(name);
      } else if (name != marker_) {
        names.push_back(name);
      }
    }
    if (error) throw system_error(directory_.string(), "cannot read", error.value());
  }
  for (const fs::path& name : directories) {
    fs::create_directory(directory_ / name, error);
    if (error) {
      throw system_error((directory_ / name).string(), "cannot create directory", error.value());
    }
  }
  const auto expect_no_directory = [&](const fs::path& file) {
    if (fs::is_directory(file)) throw system_error(file.string(), "cannot write", EISDIR);
  };
  for (const fs::path& name : names) expect_no_directory(directory_ / name);
  for (const std::string& name : stale) expect_no_directory(directory_ / name);
  expect_no_directory(directory_ / marker_);
  remove(directory_ / marker_);
  for (const std::string& name : stale) remove(directory_ / name);
  for (const fs::path& name : names) move_into_place(name);
  for (const fs::path& name : directories) sync_directory(directory_ / name);
  move_into_place(marker_);
  sync_directory(directory_);
}

void OutputSet::move_into_place(const fs::path& name) const {
  std::error_code error;
  fs::rename(staging_ / name, directory_ / name, error);
  if (error) throw system_error((directory_ / name).string(), "cannot write", error.value());
}

Error OutputSet::as_of_final_path(const Error& error) const {
  std::string where = error.where();
  const std::size_t at = where.find(staging_.string());
  if (at != where.npos) where.replace(at, staging_.string().size(), directory_.string());
  return {error.kind(), where, error.found(), error.expected()};
}

}  // namespace assay
