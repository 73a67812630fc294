#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <system_error>
#include <utility>

#include "assay/error.h"

namespace assay {
namespace {

// Applies the advice to the whole pages. A failure costs memory or time, not correctness.
void advise(std::span<const std::byte> mapped, int advice) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto at = reinterpret_cast<std::uintptr_t>(mapped.data());
  const std::uintptr_t skipped = (page - at % page) % page;
  if (mapped.size() <= skipped) return;
  const std::size_t whole = (mapped.size() - skipped) / page * page;
  // madvise takes a non-const pointer although it does not write.
  auto* first = const_cast<std::byte*>(mapped.data() + skipped);
  if (whole > 0) ::madvise(first, whole, advice);
}

// The mapped files, for a signal handler, which may only read existing memory. A slot is taken when
// its path is set, and valid once its beginning is set.
struct Mapping {
  std::atomic<char*> path = nullptr;
  std::atomic<const std::byte*> begin = nullptr;
  std::atomic<std::size_t> size = 0;
};
constexpr std::size_t kSlots = 4096;
std::array<Mapping, kSlots> mappings;
static_assert(std::atomic<const std::byte*>::is_always_lock_free);

int remember_mapping(const std::filesystem::path& path, const std::byte* begin, std::size_t size) {
  char* copy = ::strdup(path.c_str());
  if (copy == nullptr) return -1;
  for (std::size_t i = 0; i < kSlots; ++i) {
    char* empty = nullptr;
    if (!mappings[i].path.compare_exchange_strong(empty, copy)) continue;
    mappings[i].size = size;
    mappings[i].begin = begin;
    return static_cast<int>(i);
  }
  std::free(copy);
  return -1;
}

void forget_mapping(int slot) {
  if (slot < 0) return;
  Mapping& mapping = mappings[static_cast<std::size_t>(slot)];
  mapping.begin = nullptr;
  std::free(mapping.path.exchange(nullptr));
}

std::int64_t nanoseconds(const timespec& time) {
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

}  // namespace

const char* mapped_file_at(const void* address) {
  const auto* at = static_cast<const std::byte*>(address);
  for (const Mapping& mapping : mappings) {
    const std::byte* begin = mapping.begin;
    if (begin != nullptr && at >= begin && at < begin + mapping.size) return mapping.path;
  }
  return nullptr;
}

std::optional<FileState> state_of(const std::filesystem::path& file) {
  struct stat s {};
  if (::stat(file.c_str(), &s) != 0 || !S_ISREG(s.st_mode)) return std::nullopt;
  return FileState{static_cast<std::uint64_t>(s.st_size), nanoseconds(s.st_mtim),
                   nanoseconds(s.st_ctim), static_cast<std::uint64_t>(s.st_dev),
                   static_cast<std::uint64_t>(s.st_ino)};
}

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

int open_regular(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    throw input_error(path.string(), std::string("cannot open: ") + std::strerror(errno),
                      "a readable file");
  }
  struct stat status {};
  const bool is_known = ::fstat(fd, &status) == 0;
  if (is_known && S_ISREG(status.st_mode)) return fd;
  const bool is_directory = is_known && S_ISDIR(status.st_mode);
  ::close(fd);
  throw input_error(path.string(), is_directory ? "a directory" : "not a regular file", "a file");
}

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  const int fd = open_regular(path);
  struct stat status {};
  ::fstat(fd, &status);
  size_ = static_cast<std::size_t>(status.st_size);
  // mmap refuses empty mappings. The mapping outlives its descriptor.
  void* data = size_ == 0 ? nullptr : ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
  const int problem = errno;
  ::close(fd);
  if (data == MAP_FAILED) throw system_error(path.string(), "cannot map", problem);
  if (data == nullptr) return;
  data_ = static_cast<const std::byte*>(data);
  slot_ = remember_mapping(path_, data_, size_);
}

MappedFile::~MappedFile() {
  forget_mapping(slot_);
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      slot_(std::exchange(other.slot_, -1)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(slot_, other.slot_);
  return *this;
}

}  // namespace assay
