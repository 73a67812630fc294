#include "base/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "assay/error.h"

namespace assay {
namespace {

constexpr std::size_t kBuffer = std::size_t{1} << 20;

// Paths of the partial files there are, for the signal handler: it may only read memory that is
// already there and call unlink. Who takes a pointer out of its slot owns it, so that no thread
// frees a path that the handler reads.
constexpr std::size_t kSlots = 64;
std::array<std::atomic<char*>, kSlots> partial_paths;
static_assert(std::atomic<char*>::is_always_lock_free);

int remember(const std::filesystem::path& path) {
  char* copy = ::strdup(path.c_str());
  if (copy == nullptr) return -1;
  for (std::size_t i = 0; i < kSlots; ++i) {
    char* empty = nullptr;
    if (partial_paths[i].compare_exchange_strong(empty, copy)) return static_cast<int>(i);
  }
  std::free(copy);  // more files than slots: this one is only cleaned up by its destructor
  return -1;
}

void forget(int slot) {
  if (slot >= 0) std::free(partial_paths[static_cast<std::size_t>(slot)].exchange(nullptr));
}

constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};

std::atomic<int> creating{0};    // threads between a file's creation and its place in a slot
std::atomic<bool> dying{false};  // a signal's handler is at work: nothing may be created any more

// While a file is created and remembered: the handler waits for other threads, and cannot come to
// this one.
class Creation {
 public:
  Creation() {
    sigset_t set;
    ::sigemptyset(&set);
    for (const int signal : kSignals) ::sigaddset(&set, signal);
    ::pthread_sigmask(SIG_BLOCK, &set, &before_);
    creating.fetch_add(1);
    if (!dying) return;
    creating.fetch_sub(1);
    for (;;) ::pause();  // until the handler ends the process
  }
  ~Creation() {
    creating.fetch_sub(1);
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  Creation(const Creation&) = delete;
  Creation& operator=(const Creation&) = delete;

 private:
  sigset_t before_;
};

void on_signal(int signal) {
  dying = true;
  while (creating > 0) ::poll(nullptr, 0, 1);
  for (std::atomic<char*>& path : partial_paths) {
    if (const char* name = path.exchange(nullptr)) ::unlink(name);
  }
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

}  // namespace

AtomicFile::AtomicFile(const std::filesystem::path& path) : path_(path) {
  static std::atomic<unsigned> counter{0};
  buffer_.reserve(kBuffer);
  const Creation creation;
  // A killed process of the same id (in a container it often is) may have left its partial file.
  do {
    partial_ = path.parent_path() / fmt::format(".{}.partial-{}-{}", path.filename().string(),
                                                ::getpid(), counter.fetch_add(1));
    fd_ = ::open(partial_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (fd_ < 0 && errno == EEXIST);
  if (fd_ < 0) throw system_error(path_.string(), "cannot create", errno);
  slot_ = remember(partial_);  // only now: before, the name might have been another's file
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) {
    ::close(fd_);
    ::unlink(partial_.c_str());
  }
  forget(slot_);
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
    // On its way to the disk from now on: the sync at the end has less to wait for.
    ::sync_file_range(fd_, static_cast<off64_t>(flushed_), n, SYNC_FILE_RANGE_WRITE);
#endif
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    flushed_ += static_cast<std::uint64_t>(n);
  }
}

void AtomicFile::commit() {
  flush();
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

void remove_partial_files_on_signals() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  for (const int signal : kSignals) {
    struct sigaction before {};
    ::sigaction(signal, nullptr, &before);
    if (before.sa_handler != SIG_IGN) ::sigaction(signal, &action, nullptr);  // nohup stays nohup
  }
  // A file above the limit then fails with a message, as a full disk does.
  ::signal(SIGXFSZ, SIG_IGN);
}

}  // namespace assay
