#include "chat/python.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <optional>
#include <thread>
#include <utility>

#include "assay/error.h"
#include "base/text.h"

namespace assay {
namespace {

using Clock = std::chrono::steady_clock;

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() { close(); }
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  int get() const { return fd_; }
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_;
};

// The whole input is written before the program starts, so neither process waits for the other, and
// a program that stops reading does no harm.
Descriptor file_with(std::string_view input) {
  Descriptor file(::memfd_create("assay-input", MFD_CLOEXEC));
  if (file.get() < 0) throw system_error("python", "cannot make a file in memory", errno);
  for (std::string_view rest = input; !rest.empty();) {
    const ssize_t written = ::write(file.get(), rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw system_error("python", "cannot write its input", errno);
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
  ::lseek(file.get(), 0, SEEK_SET);
  return file;
}

std::array<Descriptor, 2> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw system_error("python", "cannot make a pipe", errno);
  return {Descriptor(ends[0]), Descriptor(ends[1])};
}

// A child process. The destructor ends it and waits for it.
class Process {
 public:
  Process(const std::string& program, std::string_view script, int in, int out, int err) {
    std::string name = program;
    std::string isolated = "-I";
    std::string command = "-c";
    std::string text(script);
    char* argv[] = {name.data(), isolated.data(), command.data(), text.data(), nullptr};
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
    const int error = ::posix_spawnp(&pid_, program.c_str(), &actions, nullptr, argv, environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (error != 0) {
      throw system_error(program, fmt::format("cannot run; {}", kPythonNeeded), error);
    }
  }
  ~Process() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    wait(0);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // The process's exit status as from waitpid; none if it still runs at the deadline, which is
  // possible even when it has closed its outputs.
  std::optional<int> wait_until(Clock::time_point deadline) {
    for (;;) {
      if (const std::optional<int> status = wait(WNOHANG)) return status;
      if (Clock::now() >= deadline) return {};
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

 private:
  std::optional<int> wait(int options) {
    int status = 0;
    pid_t ended = 0;
    while ((ended = ::waitpid(pid_, &status, options)) < 0 && errno == EINTR) {
    }
    if (ended == 0) return {};
    pid_ = -1;
    return status;
  }

  pid_t pid_ = -1;
};

// The last line that is not empty.
std::string last_line(std::string_view text) {
  while (text.ends_with('\n')) text.remove_suffix(1);
  return shown(text.substr(text.rfind('\n') + 1), 300);
}

}  // namespace

std::string python_program() {
  const char* named = std::getenv("ASSAY_PYTHON");
  return named != nullptr && *named != '\0' ? named : "python3";
}

std::string run_python(std::string_view script, std::string_view input, std::string_view where,
                       const PythonLimits& limits) {
  const std::string program = python_program();
  const Descriptor in = file_with(input);
  std::array<Descriptor, 2> out = make_pipe();
  std::array<Descriptor, 2> err = make_pipe();
  Process process(program, script, in.get(), out[1].get(), err[1].get());
  out[1].close();
  err[1].close();

  const auto deadline = Clock::now() + limits.time;
  const auto too_long = [&] {
    return input_error(
        where, "still running",
        fmt::format("it to end within {} s", std::chrono::duration<double>(limits.time).count()));
  };
  std::string output;
  std::string errors;
  std::array<pollfd, 2> open = {{{out[0].get(), POLLIN, 0}, {err[0].get(), POLLIN, 0}}};
  while (open[0].fd >= 0 || open[1].fd >= 0) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) throw too_long();
    if (::poll(open.data(), open.size(), static_cast<int>(left)) < 0) {
      if (errno == EINTR) continue;
      throw system_error(program, "cannot wait for its end", errno);
    }
    for (pollfd& end : open) {
      if (end.fd < 0 || end.revents == 0) continue;
      std::string& text = end.fd == out[0].get() ? output : errors;
      char buffer[65536];
      const ssize_t size = ::read(end.fd, buffer, sizeof buffer);
      if (size < 0 && errno == EINTR) continue;
      if (size <= 0) {
        end.fd = -1;  // poll ignores it
        continue;
      }
      text.append(buffer, static_cast<std::size_t>(size));
      if (text.size() > limits.output) {
        throw input_error(where, "too much output", "at most " + bytes_text(limits.output));
      }
    }
  }
  const std::optional<int> ended = process.wait_until(deadline);
  if (!ended) throw too_long();
  const int status = *ended;
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU) throw too_long();
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    const std::string end = WIFSIGNALED(status)
                                ? fmt::format("ended by signal {}", WTERMSIG(status))
                                : fmt::format("exit code {}", WEXITSTATUS(status));
    throw system_error(program, fmt::format("{}: {}; {}", end, last_line(errors), kPythonNeeded));
  }
  return output;
}

}  // namespace assay
