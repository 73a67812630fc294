#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <system_error>
#include <utility>

#include "assay/error.h"

namespace assay {
namespace {

// Closes the descriptor; the mapping outlives it. Opening a pipe must not wait for its other end.
class Descriptor {
 public:
  explicit Descriptor(const std::filesystem::path& path)
      : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

// Of whole pages. Only a wish: a failure costs memory or time, not correctness.
void advise(std::span<const std::byte> mapped, int advice) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto at = reinterpret_cast<std::uintptr_t>(mapped.data());
  const std::uintptr_t skipped = (page - at % page) % page;
  if (mapped.size() <= skipped) return;
  const std::size_t whole = (mapped.size() - skipped) / page * page;
  // madvise takes what it only gives advice about as writable.
  auto* first = const_cast<std::byte*>(mapped.data() + skipped);
  if (whole > 0) ::madvise(first, whole, advice);
}

}  // namespace

bool is_there(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(path, error) ||
         (error && error != std::errc::no_such_file_or_directory &&
          error != std::errc::not_a_directory);
}

bool is_path_below(std::string_view name) {
  const std::filesystem::path path(name);
  return !name.empty() && name.find('\0') == name.npos && !path.is_absolute() &&
         std::ranges::find(path, std::filesystem::path("..")) == path.end();
}

void give_back(std::span<const std::byte> mapped) { advise(mapped, MADV_DONTNEED); }

void expect_random_access(std::span<const std::byte> mapped) { advise(mapped, MADV_RANDOM); }

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  const Descriptor file(path);
  if (file.get() < 0) {
    throw input_error(path.string(), std::string("cannot open: ") + std::strerror(errno),
                      "a readable file");
  }
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) {
    throw input_error(path.string(), std::string("cannot stat: ") + std::strerror(errno));
  }
  if (!S_ISREG(status.st_mode)) {
    throw input_error(path.string(), S_ISDIR(status.st_mode) ? "a directory" : "not a regular file",
                      "a file");
  }
  size_ = static_cast<std::size_t>(status.st_size);
  if (size_ == 0) return;  // mmap refuses empty mappings
  void* data = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (data == MAP_FAILED) throw system_error(path.string(), "cannot map", errno);
  data_ = static_cast<const std::byte*>(data);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

}  // namespace assay
