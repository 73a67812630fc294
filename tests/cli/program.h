// Runs the real program and captures its output.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/temporary_directory.h"

namespace assay {

struct Result {
  int exit_code = -1;  // 128 + signal when killed
  std::string out;
  std::string err;
  long peak_kib = 0;  // most memory that was resident
};

struct RunOptions {
  std::string input = {};
  std::vector<std::pair<std::string, std::string>> environment = {};
  std::optional<rlim_t> file_size_limit = {};  // writes beyond it fail, as on a full disk
  std::string out_path = {};                   // standard output goes there, not to Result::out
  int kill_signal = 0;                         // sent `kill_after_us` after the start
  useconds_t kill_after_us = 0;
  std::function<void(pid_t)> meanwhile = {};  // called while it runs
};

inline Result run_program(const std::vector<std::string>& arguments,
                          const RunOptions& options = {}) {
  const TemporaryDirectory directory;
  write_text(directory / "in", options.input);
  const std::string in = directory / "in";
  const std::string out =
      options.out_path.empty() ? (directory / "out").string() : options.out_path;
  const std::string err = directory / "err";
  std::vector<std::string> words = {ASSAY_PROGRAM};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(::open(in.c_str(), O_RDONLY), 0);
    ::dup2(::open(out.c_str(), O_WRONLY | O_CREAT, 0600), 1);
    ::dup2(::open(err.c_str(), O_WRONLY | O_CREAT, 0600), 2);
    for (const auto& [name, value] : options.environment) {
      ::setenv(name.c_str(), value.c_str(), 1);
    }
    if (options.file_size_limit) {
      ::signal(SIGXFSZ, SIG_IGN);
      const rlimit limit = {*options.file_size_limit, *options.file_size_limit};
      ::setrlimit(RLIMIT_FSIZE, &limit);
    }
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  if (options.kill_signal != 0) {
    ::usleep(options.kill_after_us);
    ::kill(child, options.kill_signal);
  }
  if (options.meanwhile) options.meanwhile(child);
  int status = 0;
  rusage usage{};
  ::wait4(child, &status, 0, &usage);
  Result result;
  result.peak_kib = usage.ru_maxrss;
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  // If it was killed early, it has not opened them.
  const auto text_of = [](const std::string& file) {
    return std::filesystem::exists(file) ? read_text(file) : std::string();
  };
  if (options.out_path.empty()) result.out = text_of(out);
  result.err = text_of(err);
  return result;
}

// One line, on standard error, with everything in `parts`.
inline void expect_failure(const Result& result, int exit_code,
                           const std::vector<std::string>& parts) {
  EXPECT_EQ(result.exit_code, exit_code) << result.err;
  EXPECT_TRUE(result.err.starts_with("assay: error: ")) << result.err;
  EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
  for (const std::string& part : parts) {
    EXPECT_NE(result.err.find(part), std::string::npos) << "no '" << part << "' in " << result.err;
  }
}

// A copy of the bundled model, to be damaged.
class CheckpointCopy {
 public:
  CheckpointCopy() {
    const std::filesystem::path from = ASSAY_ROOT "/models/tiny-qwen3";
    for (const char* file :
         {"config.json", "generation_config.json", "tokenizer.json", "model.safetensors"}) {
      std::filesystem::copy_file(from / file, directory_ / file);
    }
  }
  std::string path() const { return directory_.path(); }
  std::filesystem::path file(std::string_view name) const { return directory_ / name; }

  // Replaces the first `from` in a file by `to`.
  void replace(std::string_view name, std::string_view from, std::string_view to) const {
    std::string text = read_text(file(name));
    const std::size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    write_text(file(name), text);
  }

 private:
  TemporaryDirectory directory_;
};

}  // namespace assay
