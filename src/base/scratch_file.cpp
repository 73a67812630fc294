#include "base/scratch_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>

#include "assay/error.h"
#include "base/text.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

fs::path scratch_directory() {
  const char* wanted = std::getenv("TMPDIR");
  if (wanted != nullptr && *wanted != '\0') return wanted;
  // On many systems /tmp is in memory.
  std::error_code ignored;
  return fs::is_directory("/var/tmp", ignored) ? "/var/tmp" : "/tmp";
}

// A descriptor of an unnamed file, or -1 and errno.
int open_nameless(const fs::path& directory) {
#ifdef O_TMPFILE
  const int fd = ::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600);
  if (fd >= 0) return fd;
#endif
  // Not every file system supports unnamed files.
  std::string name = directory / "assay-scratch-XXXXXX";
  const int named = ::mkostemp(name.data(), O_CLOEXEC);
  if (named >= 0) ::unlink(name.c_str());
  return named;
}

}  // namespace

ScratchFile::ScratchFile(std::uint64_t bytes, std::string_view what) : size_(bytes) {
  const fs::path directory = scratch_directory();
  const auto fail = [&](std::string_view found, int number) {
    throw Error(ErrorKind::kSystem, std::string(what),
                fmt::format("{} {} in {}: {}", found, bytes_text(bytes), shown(directory.string()),
                            std::strerror(number)),
                "enough space on that disk; set TMPDIR to use another directory");
  };
  // The free space is checked first, because glibc writes the whole file when a file system cannot
  // reserve space.
  std::error_code unknown;
  const fs::space_info disk = fs::space(directory, unknown);
  if (!unknown && disk.available < bytes) fail("no temporary file of", ENOSPC);
  const int fd = open_nameless(directory);
  if (fd < 0) fail("no temporary file of", errno);
  int problem = 0;
  do {
    problem = ::posix_fallocate(fd, 0, static_cast<off_t>(bytes));
  } while (problem == EINTR);
  if (problem == 0) {
    void* data = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) {
      problem = errno;
    } else {
      data_ = static_cast<std::byte*>(data);
    }
  }
  ::close(fd);
  if (problem != 0) fail("no temporary file of", problem);
}

ScratchFile::~ScratchFile() { ::munmap(data_, size_); }

}  // namespace assay
