#include "base/output_set.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <set>

#include "base/atomic_file.h"
#include "base/expect_error.h"
#include "base/partial_paths.h"
#include "base/temporary_directory.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

// Every file in it, with its text.
std::set<std::string> files_in(const fs::path& directory) {
  std::set<std::string> all;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    if (!entry.is_regular_file()) continue;
    all.insert(entry.path().lexically_relative(directory).string() + ": " +
               read_text(entry.path()));
  }
  return all;
}

void fill(const OutputSet& set, std::string_view text) {
  set.create_directory("a");
  write_text(set.staging() / "a" / "x", text);
  write_text(set.staging() / "marker", text);
}

TEST(OutputSet, RemovesNoForeignFiles) {
  const TemporaryDirectory directory;
  const fs::path out = directory / "out";
  for (const char* name : {".partial-mine", ".partial-", ".partial-1", ".partial-1-", ".partial--1",
                           ".partial-1-2-3", ".partial-1-2.npz"}) {
    fs::create_directories(out / name);
  }
  fs::create_directories(out / ".partial-123456-7");
  {
    OutputSet set(out, "marker");
    fill(set, "new");
    set.publish();
  }
  EXPECT_TRUE(fs::exists(out / ".partial-mine"));
  EXPECT_FALSE(fs::exists(out / ".partial-123456-7"));
  EXPECT_EQ(std::distance(fs::directory_iterator(out), fs::directory_iterator()), 7 + 2);
}

// The conflict is found before anything of the earlier set is touched.
TEST(OutputSet, ADirectoryUnderAFilesNameLeavesTheEarlierSetWhole) {
  const TemporaryDirectory directory;
  const fs::path out = directory / "out";
  {
    OutputSet set(out, "marker");
    fill(set, "old");
    set.publish();
  }
  fs::create_directories(out / "a" / "z");
  OutputSet set(out, "marker");
  fill(set, "new");
  write_text(set.staging() / "a" / "z", "new");
  expect_error(ErrorKind::kSystem, {"a/z", "Is a directory"}, [&] { set.publish(); });
  EXPECT_EQ(read_text(out / "marker"), "old");
  EXPECT_EQ(read_text(out / "a/x"), "old");
}

TEST(OutputSet, IsCompleteWhenAllFilesExist) {
  const TemporaryDirectory directory;
  const fs::path out = directory / "deep/out";
  {
    OutputSet set(out, "marker");
    fill(set, "old");
    EXPECT_FALSE(fs::exists(out / "marker"));
    set.publish();
  }
  write_text(out / "stale", "of another kind");
  write_text(out / "mine", "stays");
  const std::set<std::string> old = {"a/x: old", "marker: old", "mine: stays",
                                     "stale: of another kind"};
  EXPECT_EQ(files_in(out), old);
  {
    const OutputSet set(out, "marker");
    fill(set, "new");  // and then the run fails
  }
  EXPECT_EQ(files_in(out), old);
  OutputSet set(out, "marker");
  fill(set, "new");
  set.publish({"stale"});
  EXPECT_EQ(files_in(out), (std::set<std::string>{"a/x: new", "marker: new", "mine: stays"}));
}

TEST(OutputSet, BelongsToOneRun) {
  const TemporaryDirectory directory;
  {
    const OutputSet first(directory.path(), "marker");
    expect_error(
        ErrorKind::kSystem,
        {directory.path().string(), "process " + std::to_string(::getpid()), "is writing into it"},
        [&] { OutputSet(directory.path(), "marker"); });
    EXPECT_TRUE(fs::exists(first.staging()));
  }
  OutputSet(directory.path(), "marker");
}

TEST(OutputSet, WhatKilledRunsLeftIsRemoved) {
  const TemporaryDirectory directory;
  fs::create_directories(directory / ".partial-1-0/a");
  write_text(directory / ".partial-1-0/a/x", "left");
  { const OutputSet set(directory.path(), "marker"); }
  EXPECT_TRUE(directory.names().empty());
}

TEST(OutputSet, SignalsRemoveWhatIsUnfinished) {
  const TemporaryDirectory directory;
  const pid_t child = ::fork();
  if (child == 0) {
    remove_partial_files_on_signals();
    const OutputSet set(directory.path(), "marker");
    for (int i = 0; i < 300; ++i) {
      const std::string name = "prompt" + std::to_string(i);
      set.create_directory(name);
      write_text(set.staging() / name / "x", "x");
    }
    const AtomicFile open(set.staging() / "prompt0" / "y");
    ::raise(SIGTERM);
    ::_exit(99);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM) << status;
  EXPECT_TRUE(directory.names().empty());
}

TEST(OutputSet, ErrorsNameTheFinalPath) {
  const TemporaryDirectory directory;
  const OutputSet set(directory.path(), "marker");
  const Error found =
      set.as_of_final_path(system_error((set.staging() / "a/x").string(), "cannot write", ENOSPC));
  EXPECT_EQ(found.where(), (directory / "a/x").string());
  EXPECT_EQ(found.kind(), ErrorKind::kSystem);
  write_text(directory / "a", "a file");
  expect_error(ErrorKind::kSystem, {(directory / "a").string(), "cannot create directory"},
               [&] { set.create_directory("a"); });
}

}  // namespace
}  // namespace assay
