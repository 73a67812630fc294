#include "base/file_reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "assay/error.h"
#include "base/mapped_file.h"

namespace assay {
namespace {

// The cache drops only whole folios, which are at most this large. If a folio crosses the beginning
// of a range, its part before the range must be dropped too.
constexpr std::uint64_t kFolio = std::uint64_t{2} << 20;

}  // namespace

FileReader::FileReader(std::filesystem::path path)
    : path_(std::move(path)), fd_(open_regular(path_)) {}

FileReader::~FileReader() {
  if (fd_ >= 0) ::close(fd_);
}

FileReader::FileReader(FileReader&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}

FileReader& FileReader::operator=(FileReader&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  return *this;
}

void FileReader::read(std::uint64_t offset, std::span<std::byte> to) const {
  while (!to.empty()) {
    const ssize_t n = ::pread(fd_, to.data(), to.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      throw input_error(path_.string(), std::string("cannot read: ") + std::strerror(errno),
                        "a readable file");
    }
    if (n == 0) {
      throw input_error(path_.string(), fmt::format("ends at byte {}", offset),
                        "the length it had when it was opened");
    }
    offset += static_cast<std::uint64_t>(n);
    to = to.subspan(static_cast<std::size_t>(n));
  }
}

void FileReader::let_go(std::uint64_t offset, std::uint64_t size) const {
  forget_cached(fd_, offset, size);
}

void forget_cached(int descriptor, std::uint64_t offset, std::uint64_t size) {
  const std::uint64_t before = std::min(offset, kFolio);
  ::posix_fadvise(descriptor, static_cast<off_t>(offset - before),
                  static_cast<off_t>(size + before), POSIX_FADV_DONTNEED);
}

}  // namespace assay
