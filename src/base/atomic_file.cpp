#include "base/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <system_error>
#include <utility>

#include "assay/error.h"
#include "base/directory.h"
#include "base/partial_paths.h"

namespace assay {
namespace {

constexpr std::size_t kBuffer = std::size_t{1} << 20;

// The name may already have the maximum length, and the partial file's name is longer.
std::string partial_name(const std::filesystem::path& path) {
  constexpr std::size_t kLongest = 200;
  return fmt::format(".{}.partial-", path.filename().string().substr(0, kLongest));
}

// Removes partial files of this name whose process no longer exists.
void remove_what_killed_ones_left(const std::filesystem::path& path) {
  const std::string begin = partial_name(path);
  const std::filesystem::path parent = path.parent_path();
  std::error_code error;
  for (const auto& found : paths_in(parent.empty() ? "." : parent, error)) {
    const std::string name = found.filename().string();
    if (!name.starts_with(begin)) continue;
    const long process = std::strtol(name.c_str() + begin.size(), nullptr, 10);
    const bool is_gone =
        process > 0 && ::kill(static_cast<pid_t>(process), 0) != 0 && errno == ESRCH;
    if (is_gone) std::filesystem::remove(found, error);
  }
}

bool is_stream(const std::filesystem::path& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode);
}

}  // namespace

AtomicFile::AtomicFile(const std::filesystem::path& path) : path_(path) {
  static std::atomic<unsigned> counter{0};
  buffer_.reserve(kBuffer);
  if (is_stream(path)) {
    fd_ = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd_ < 0) throw system_error(path_.string(), "cannot open", errno);
    return;
  }
  remove_what_killed_ones_left(path);
  const PartialCreation creation;
  // A killed process with the same id (common in containers) may have left its partial file.
  do {
    partial_ = path.parent_path() /
               fmt::format("{}{}-{}", partial_name(path), ::getpid(), counter.fetch_add(1));
    fd_ = ::open(partial_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (fd_ < 0 && errno == EEXIST);
  if (fd_ < 0) throw system_error(path_.string(), "cannot create", errno);
  slot_ = remember_partial(
      partial_);  // only now: before, the name might have belonged to another process
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) {
    ::close(fd_);
    if (!partial_.empty()) ::unlink(partial_.c_str());
  }
  forget_partial(slot_);
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  if (buffer_.size() + bytes.size() > kBuffer) flush();
  if (bytes.size() >= kBuffer) {
    write_out(bytes);
  } else {
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  }
}

void AtomicFile::flush() {
  write_out(buffer_);
  buffer_.clear();
}

void AtomicFile::write_out(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw system_error(path_.string(), "cannot write", n < 0 ? errno : ENOSPC);
#ifdef SYNC_FILE_RANGE_WRITE
    // Starts writing to the disk now, so that the sync at the end has less to wait for.
    ::sync_file_range(fd_, static_cast<off64_t>(flushed_), n, SYNC_FILE_RANGE_WRITE);
#endif
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    flushed_ += static_cast<std::uint64_t>(n);
  }
}

void AtomicFile::commit() {
  flush();
  if (partial_.empty()) {
    if (::close(std::exchange(fd_, -1)) != 0) {
      throw system_error(path_.string(), "cannot write", errno);
    }
    return;
  }
  if (::fsync(fd_) != 0) throw system_error(path_.string(), "cannot write", errno);
  const int fd = fd_;
  fd_ = -1;
  if (::close(fd) != 0 || ::rename(partial_.c_str(), path_.c_str()) != 0) {
    const int error = errno;
    ::unlink(partial_.c_str());
    throw system_error(path_.string(), "cannot write", error);
  }
  // The rename is durable only once the directory is.
  const std::filesystem::path parent = path_.parent_path();
  const int directory = ::open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_CLOEXEC);
  if (directory >= 0) {
    ::fsync(directory);
    ::close(directory);
  }
}

}  // namespace assay
