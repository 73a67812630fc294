#include "base/partial_paths.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <string_view>

#include "assay/error.h"
#include "base/directory.h"
#include "base/mapped_file.h"

namespace assay {
namespace {

// The paths of the partial files, for the signal handler, which may only read existing memory and
// call unlink. Taking a pointer out of its slot means owning it, so no thread frees a path that the
// handler reads.
constexpr std::size_t kSlots = 64;
std::array<std::atomic<char*>, kSlots> partial_paths;
static_assert(std::atomic<char*>::is_always_lock_free);

constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};

std::atomic<int> creating{0};    // threads between a file's creation and its place in a slot
std::atomic<bool> dying{false};  // a signal handler is running: nothing may be created any more

void remove_partial_paths() {
  dying = true;
  while (creating > 0) ::poll(nullptr, 0, 1);
  for (std::atomic<char*>& path : partial_paths) {
    if (const char* name = path.exchange(nullptr)) remove_tree(name);
  }
}

void on_signal(int signal) {
  remove_partial_paths();
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

void say(const char* text, std::size_t size) {
  while (size > 0) {
    const ssize_t n = ::write(STDERR_FILENO, text, size);
    if (n <= 0) return;
    text += n;
    size -= static_cast<std::size_t>(n);
  }
}

// Uses only what a signal handler may call. Characters other than printable ASCII become '?'.
void say_path(const char* path) {
  for (const char* at = path; *at != '\0'; ++at)
    say(static_cast<signed char>(*at) < 32 || *at == 127 ? "?" : at, 1);
}

void on_lost_file(int signal, siginfo_t* info, void*) {
  constexpr std::string_view kBefore = "assay: error: ";
  constexpr std::string_view kAfter =
      ": was cut short, or could no longer be read, while it was in use\n";
  const char* file = mapped_file_at(info->si_addr);
  if (file == nullptr) return on_signal(signal);
  // Several threads may lose the file at once, but the message is printed once.
  static std::atomic<bool> said{false};
  while (said.exchange(true)) ::pause();
  say(kBefore.data(), kBefore.size());
  say_path(file);
  say(kAfter.data(), kAfter.size());
  remove_partial_paths();
  ::_exit(static_cast<int>(ErrorKind::kInput));
}

[[noreturn]] void on_terminate() {
  try {
    if (std::current_exception()) std::rethrow_exception(std::current_exception());
  } catch (const std::bad_alloc&) {
    say_out_of_memory();
    remove_partial_paths();
    ::_exit(static_cast<int>(ErrorKind::kSystem));
  } catch (...) {
  }
  std::abort();
}

}  // namespace

void say_out_of_memory() {
  constexpr std::string_view kText = "assay: error: out of memory\n";
  say(kText.data(), kText.size());
}

void end_with_message_when_memory_is_out() { std::set_terminate(on_terminate); }

PartialCreation::PartialCreation() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : kSignals) ::sigaddset(&set, signal);
  ::pthread_sigmask(SIG_BLOCK, &set, &before_);
  creating.fetch_add(1);
  if (!dying) return;
  creating.fetch_sub(1);
  for (;;) ::pause();  // until the handler ends the process
}

PartialCreation::~PartialCreation() {
  creating.fetch_sub(1);
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

int remember_partial(const std::filesystem::path& path) {
  char* copy = ::strdup(path.c_str());
  if (copy == nullptr) return -1;
  for (std::size_t i = 0; i < kSlots; ++i) {
    char* empty = nullptr;
    if (partial_paths[i].compare_exchange_strong(empty, copy)) return static_cast<int>(i);
  }
  std::free(copy);  // more files than slots: this one is only cleaned up by its destructor
  return -1;
}

void forget_partial(int slot) {
  if (slot >= 0) std::free(partial_paths[static_cast<std::size_t>(slot)].exchange(nullptr));
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

void end_with_message_when_a_mapped_file_is_lost() {
  struct sigaction action {};
  action.sa_sigaction = on_lost_file;
  action.sa_flags = SA_SIGINFO;
  ::sigaction(SIGBUS, &action, nullptr);
}

}  // namespace assay
