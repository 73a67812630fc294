#include "base/atomic_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <thread>

#include "base/expect_error.h"
#include "base/partial_paths.h"
#include "base/temporary_directory.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

using Names = std::vector<std::string>;

const std::string kBlock(std::size_t{3} << 20, 'x');  // more than the buffer

// Runs `body`, which must not use gtest, in a child process and returns its wait status.
template <class Body>
int in_child(Body&& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    body();
    ::_exit(99);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return status;
}

// Starts to write `path`, over the buffer, and sends itself the signal.
int interrupted_child(const fs::path& path, int signal, bool ignored = false) {
  return in_child([&] {
    if (ignored) ::signal(signal, SIG_IGN);
    remove_partial_files_on_signals();
    AtomicFile file(path);
    file.write(bytes_of(kBlock));
    ::raise(signal);
    file.commit();
    ::_exit(0);
  });
}

TEST(AtomicFile, HoldsEveryByteInOrderAndReplacesWhatWasThere) {
  const TemporaryDirectory directory;
  write_text(directory / "file", "before");
  std::string expected;
  AtomicFile file(directory / "file");
  for (const std::size_t size : {1u, 0u, 1048575u, 1u, 1048576u, 7u, 2000000u, 5u}) {
    const std::string piece(size, static_cast<char>('a' + expected.size() % 26));
    file.write(bytes_of(piece));
    expected += piece;
    EXPECT_EQ(file.size(), expected.size());
  }
  EXPECT_EQ(read_text(directory / "file"), "before");
  file.commit();
  EXPECT_TRUE(read_text(directory / "file") == expected);
  EXPECT_EQ(directory.names(), Names{"file"});
}

TEST(AtomicFile, WithoutCommitNothingIsLeft) {
  const TemporaryDirectory directory;
  {
    AtomicFile file(directory / "file");
    file.write(bytes_of(kBlock));
    EXPECT_EQ(directory.names().size(), 1u);
  }
  EXPECT_EQ(directory.names(), Names{});
}

TEST(AtomicFile, PermissionsAreThoseOfTheUmask) {
  const TemporaryDirectory directory;
  const mode_t before = ::umask(027);
  AtomicFile file(directory / "file");
  ::umask(before);
  file.commit();
  struct stat status {};
  ASSERT_EQ(::stat((directory / "file").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777u, 0640u);
}

TEST(AtomicFile, ADirectoryThatCannotBeWrittenIsASystemErrorThatNamesTheFile) {
  const TemporaryDirectory directory;
  write_text(directory / "regular", "");
  expect_error(ErrorKind::kSystem, {"regular/file.npz: cannot create: Not a directory"},
               [&] { AtomicFile file(directory / "regular/file.npz"); });
  expect_error(ErrorKind::kSystem, {"absent/file.npz: cannot create: No such file or directory"},
               [&] { AtomicFile file(directory / "absent/file.npz"); });
}

TEST(AtomicFile, ADirectoryUnderTheFinalNameIsASystemErrorAndLeavesNothing) {
  const TemporaryDirectory directory;
  fs::create_directory(directory / "taken");
  {
    AtomicFile file(directory / "taken");
    expect_error(ErrorKind::kSystem, {"taken: cannot write: Is a directory"},
                 [&] { file.commit(); });
  }
  EXPECT_EQ(directory.names(), Names{"taken"});
}

// A limit on the file size simulates the full disk: write fails in the same way.
TEST(AtomicFile, AFullDiskIsASystemErrorAndLeavesNothing) {
  const TemporaryDirectory directory;
  for (const bool at_commit : {false, true}) {
    const int status = in_child([&] {
      remove_partial_files_on_signals();  // also ignores SIGXFSZ
      const rlimit limit{.rlim_cur = 1000, .rlim_max = 1000};
      ::setrlimit(RLIMIT_FSIZE, &limit);
      try {
        AtomicFile file(directory / "file");
        file.write(bytes_of(kBlock).first(at_commit ? 1001 : kBlock.size()));
        if (at_commit) file.commit();
      } catch (const Error& error) {
        const std::string expected = (directory / "file").string() + ": cannot write: ";
        ::_exit(error.kind() == ErrorKind::kSystem &&
                        std::string_view(error.what()).starts_with(expected)
                    ? 4
                    : 98);
      }
    });
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 4) << status;
    EXPECT_EQ(directory.names(), Names{});
  }
}

TEST(AtomicFile, SignalsRemoveThePartialFileAndEndTheProcess) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) {
    const TemporaryDirectory directory;
    const int status = interrupted_child(directory / "file", signal);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == signal) << signal << ": " << status;
    EXPECT_EQ(directory.names(), Names{}) << signal;
  }
}

TEST(AtomicFile, IgnoredSignalsStayIgnored) {
  const TemporaryDirectory directory;
  const int status = interrupted_child(directory / "file", SIGHUP, true);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_EQ(directory.names(), Names{"file"});
}

// Files come and go on several threads while the signal arrives.
TEST(AtomicFile, SignalsAreSafeWhileFilesComeAndGo) {
  for (int round = 0; round < 20; ++round) {
    const TemporaryDirectory directory;
    const int status = in_child([&] {
      remove_partial_files_on_signals();
      std::atomic<int> made{0};
      std::vector<std::thread> threads;
      for (int t = 0; t < 2; ++t) {
        threads.emplace_back([&] {
          for (;;) {
            const AtomicFile file(directory / "file");
            ++made;
          }
        });
      }
      while (made < 50) std::this_thread::yield();
      ::kill(::getpid(), SIGTERM);
      for (std::thread& thread : threads) thread.join();
    });
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM) << status;
    EXPECT_FALSE(fs::exists(directory / "file"));
  }
}

TEST(AtomicFile, AKilledProcessLeavesNothingUnderTheFinalName) {
  const TemporaryDirectory directory;
  const int status = interrupted_child(directory / "file", SIGKILL);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  EXPECT_FALSE(fs::exists(directory / "file"));
  const Names left = directory.names();
  ASSERT_EQ(left.size(), 1u);
  EXPECT_TRUE(left[0].starts_with(".file.partial-")) << left[0];
}

TEST(AtomicFile, TheNextRunRemovesWhatAKilledProcessLeft) {
  const TemporaryDirectory directory;
  interrupted_child(directory / "file", SIGKILL);
  interrupted_child(directory / "other", SIGKILL);
  write_text(directory / (".file.partial-" + std::to_string(::getpid()) + "-1000"), "alive");
  AtomicFile(directory / "file").commit();
  Names left = directory.names();
  std::ranges::sort(left);
  ASSERT_EQ(left.size(), 3u);  // the running process's, the other file's, and the file
  EXPECT_TRUE(left[0].starts_with(".file.partial-" + std::to_string(::getpid()))) << left[0];
  EXPECT_TRUE(left[1].starts_with(".other.partial-")) << left[1];
  EXPECT_EQ(left[2], "file");
}

// In containers every run may have the same process id.
TEST(AtomicFile, LeftoversOfAKilledProcessWithTheSameIdAreNoObstacle) {
  const TemporaryDirectory directory;
  const int status = in_child([&] {
    // Occupies every name that the next files could take first.
    for (int i = 0; i < 100; ++i) {
      write_text(
          directory / (".file.partial-" + std::to_string(::getpid()) + "-" + std::to_string(i)),
          "left");
    }
    AtomicFile file(directory / "file");
    file.commit();
    ::_exit(0);
  });
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_EQ(read_text(directory / "file"), "");
  EXPECT_EQ(directory.names().size(), 101u);
}

// Run as root, a report to /dev/null must not leave a file there.
TEST(AtomicFile, APipeIsWrittenToAndStays) {
  const TemporaryDirectory directory;
  const std::string pipe = directory / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const int reader = ::open(pipe.c_str(), O_RDONLY | O_NONBLOCK);
  {
    AtomicFile file(pipe);
    file.write(bytes_of("text"));
    file.commit();
  }
  char text[8] = {};
  EXPECT_EQ(::read(reader, text, sizeof text), 4);
  EXPECT_STREQ(text, "text");
  ::close(reader);
  EXPECT_TRUE(std::filesystem::is_fifo(pipe));
  EXPECT_EQ(directory.names().size(), 1u);
}

TEST(AtomicFile, ADeviceThatIsFullIsAnErrorAndStays) {
  expect_error(ErrorKind::kSystem, {"/dev/full", "No space left"}, [] {
    AtomicFile file("/dev/full");
    file.write(bytes_of("text"));
    file.commit();
  });
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/full"));
}

}  // namespace
}  // namespace assay
