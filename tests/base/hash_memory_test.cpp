// When hashes are remembered, and when not.
#include "base/hash_memory.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/sha256.h"
#include "base/temporary_directory.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kSecond = 1'000'000'000;

class HashMemoryTest : public testing::Test {
 protected:
  HashMemoryTest() { write_text(file_, "contents"); }

  // When the file was last changed, in ns.
  std::int64_t changed() const {
    struct stat s {};
    EXPECT_EQ(::stat(file_.c_str(), &s), 0);
    return std::int64_t{s.st_ctim.tv_sec} * kSecond + s.st_ctim.tv_nsec;
  }
  // The file's hash, from a program that asks this long after the last change.
  std::string hash(std::int64_t after = 10 * kSecond) {
    const std::int64_t now = changed() + after;
    HashMemory memory(memory_, [now] { return now; });
    return hash(memory);
  }
  std::string hash(HashMemory& memory) {
    return memory.sha256(file_, [&] {
      ++computed_;
      return sha256_file(file_);
    });
  }

  TemporaryDirectory directory_;
  fs::path file_ = directory_ / "weights";
  fs::path memory_ = directory_ / "cache/assay/hashes";
  int computed_ = 0;
};

TEST_F(HashMemoryTest, HashesAFileOnce) {
  const std::string expected = sha256_file(file_);
  EXPECT_EQ(hash(), expected);
  EXPECT_EQ(hash(), expected);
  EXPECT_EQ(computed_, 1);
  // Also if its path is written differently, but not for a copy.
  file_ = directory_ / "cache/../weights";
  EXPECT_EQ(hash(), expected);
  EXPECT_EQ(computed_, 1);
  fs::copy_file(file_, directory_ / "copy");
  file_ = directory_ / "copy";
  EXPECT_EQ(hash(), expected);
  EXPECT_EQ(computed_, 2);
}

TEST_F(HashMemoryTest, SeesChanges) {
  hash();
  // Longer than a tick of the file system's clock.
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  write_text(file_, "contentz");
  EXPECT_EQ(hash(), sha256_file(file_));
  EXPECT_EQ(computed_, 2);
  // Replaces the file by another one of the same size and mtime.
  const auto time = fs::last_write_time(file_);
  write_text(directory_ / "other", "contentY");
  fs::last_write_time(directory_ / "other", time);
  fs::rename(directory_ / "other", file_);
  EXPECT_EQ(hash(), sha256_file(file_));
  EXPECT_EQ(computed_, 3);
}

TEST_F(HashMemoryTest, DoesNotRememberWhatHasJustChanged) {
  hash(kSecond);
  hash(kSecond);
  EXPECT_EQ(computed_, 2);
  hash(3 * kSecond);
  hash(3 * kSecond);
  EXPECT_EQ(computed_, 3);
}

TEST_F(HashMemoryTest, DoesNotRememberWhatChangesMeanwhile) {
  const std::int64_t now = changed() + 1000 * kSecond;
  HashMemory memory(memory_, [now] { return now; });
  memory.sha256(file_, [&] {
    write_text(file_, "longer contents");
    return std::string(64, '0');
  });
  EXPECT_EQ(hash(), sha256_file(file_));
}

TEST_F(HashMemoryTest, CanBeBypassed) {
  hash();
  HashMemory memory(memory_, [this] { return changed() + 10 * kSecond; });
  memory.pass_over();
  hash(memory);
  EXPECT_EQ(computed_, 2);
}

TEST_F(HashMemoryTest, ReplacesADamagedFile) {
  hash();
  const std::string good = read_text(memory_);
  for (const std::string& bad :
       {std::string(), std::string("something else\n"), good + "more\n", good + good.substr(0, 40),
        std::string("assay hashes 1\n") + std::string(64, 'x') + " 1 key\n",
        std::string(1 << 20, '\0')}) {
    write_text(memory_, bad);
    computed_ = 0;
    EXPECT_EQ(hash(), sha256_file(file_));
    EXPECT_EQ(computed_, 1) << bad.substr(0, 80);
    EXPECT_EQ(hash(), sha256_file(file_));
    EXPECT_EQ(computed_, 1) << bad.substr(0, 80);
  }
}

TEST_F(HashMemoryTest, IsOptionalIfItCannotBeWritten) {
  write_text(directory_ / "cache", "a file where the directory would be");
  EXPECT_EQ(hash(), sha256_file(file_));
  EXPECT_EQ(hash(), sha256_file(file_));
  EXPECT_EQ(computed_, 2);
  memory_.clear();
  EXPECT_EQ(hash(), sha256_file(file_));
}

TEST_F(HashMemoryTest, DoesNotGrowForEver) {
  std::string text = "assay hashes 1\n";
  for (int i = 0; i < 5000; ++i) {
    text += std::string(64, 'a') + " " + std::to_string(i) + " key" + std::to_string(i) + "\n";
  }
  fs::create_directories(memory_.parent_path());
  write_text(memory_, text);
  hash();
  const std::string kept = read_text(memory_);
  EXPECT_EQ(std::ranges::count(kept, '\n'), 4097);
  EXPECT_EQ(kept.find(" key10\n"), std::string::npos);
  EXPECT_NE(kept.find(" key4999\n"), std::string::npos);
  hash();
  EXPECT_EQ(computed_, 1);
}

TEST_F(HashMemoryTest, ServesSeveralAtOnce) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const fs::path own = directory_ / ("file" + std::to_string(t));
      write_text(own, std::to_string(t));
      HashMemory memory(memory_, [this] { return changed() + 1000 * kSecond; });
      for (int i = 0; i < 20; ++i) {
        EXPECT_EQ(memory.sha256(own, [&] { return sha256_file(own); }), sha256_file(own));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(read_text(memory_).starts_with("assay hashes 1\n"));
}

}  // namespace
}  // namespace assay
